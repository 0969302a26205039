"""Variants of the default run: each trained once, and tabled."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.multimodal import variants
from tests.integration.in_process import ROOT

pytest.importorskip("transformers", reason="extra multimodal is not installed")

TINY = {
    "data.source.init_args.num_images": "12",
    "data.val_source": "null",
    "data.batch_size": "4",
    "model.network.tower.backbone": "random:test_resnet",
    "model.network.language.name": "tiny:llama:32x1",
}


@pytest.mark.slow
def test_a_variant_is_trained_and_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    row = "one level"
    given = ["--out", str(tmp_path), "--rows", row, "pretrained tower", "--seeds", "0"]
    given += ["--steps", "3", "--questions", "2"]
    extra = [word for name, value in TINY.items() for word in (f"--{name}", value)]
    monkeypatch.setattr(sys, "argv", ["variants", *given, "--extra", *extra])
    variants.main()
    told = capsys.readouterr().out
    assert "left out, as there is no --backbone: pretrained tower" in told
    assert told.count("training: ") == 1
    (line,) = [x for x in (tmp_path / "variants.md").read_text().splitlines() if row in x]
    assert 0 <= float(line.split("|")[2].strip(" *")) <= 1
    assert (tmp_path / "one_level-0/stage1/model/config.json").is_file()
    variants.main()
    assert "training: " not in capsys.readouterr().out
