"""What the command of exports refuses: options that it would leave unused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cmid.export import to_timm
from cmid.models import MaskedEncoder
from tests.integration import in_process


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--format", "torchvision", "--img_size", "64"], "--img_size: .* tells that itself"),
        (["--format", "mmseg", "--mean", "0.5", "--std", "0.2"], "--mean, --std: .* tells that"),
        (["--format", "mmseg", "--which", "student"], "--which: .* tells that itself"),
        (["--format", "mmseg", "--overwrite"], "--overwrite is of format timm"),
        (["--format", "mmseg", "--wise_ft", "0.5"], "--wise_ft is of format clip"),
    ],
)
def test_options_that_an_export_leaves_unused_are_refused(tmp_path: Path, options, said) -> None:
    statistics = {"mean": [0.5] * 3, "std": [0.2] * 3}
    encoder = MaskedEncoder("resnet18", img_size=32)
    folder = to_timm(encoder, tmp_path / "export", statistics=statistics)
    out = tmp_path / "out.pth"
    done = in_process.run("tools/export.py", folder, out, *options)
    assert done.status
    assert re.search(said, done.err.splitlines()[-1])
    assert not out.exists()
