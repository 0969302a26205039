"""The whole filter: from data to a view that training reads through."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from cmid.vision_language.clip.config import CLIPConfig
from cmid.vision_language.data import (
    CaptionTable,
    ImageTextData,
    ImageTextSource,
    ImageTextView,
    JoinedTexts,
    SceneTexts,
    SelectedTexts,
)
from cmid.vision_language.data.selection import NothingKeptError, through
from cmid.vision_language.filtering.config import ChoiceConfig, EngineConfig, ScoringConfig
from cmid.vision_language.filtering.making import filter_sources
from cmid.vision_language.scoring.dual_encoder import DualEncoderScorer
from cmid.vision_language.scoring.storage import load_scorer, save_scorer
from tests.integration.in_process import run

pytest.importorskip("open_clip", reason="extra vision-language is not installed")
pa = pytest.importorskip("pyarrow", reason="extra scoring is not installed")
import pyarrow.parquet as pq  # noqa: E402


@pytest.fixture(scope="module")
def scorer(tiny_clip: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    from cmid.vision_language.clip.building import build_clip

    torch.manual_seed(4)
    scorer = DualEncoderScorer(build_clip(CLIPConfig(tiny_clip)))
    return str(save_scorer(scorer, tmp_path_factory.mktemp("scorer") / "scorer"))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Five images with one to three captions, one of which cannot be read."""
    lines = ["filepath,title"]
    for number in range(5):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        PillowImage.fromarray(pixels).save(tmp_path / f"{number}.png")
        lines += [f'{number}.png,"{t}"' for t in ("$5 船, a ship", "two", "three é")][
            : number % 3 + 1
        ]
    (tmp_path / "3.png").write_bytes(b"nothing")
    (tmp_path / "captions.csv").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path / "captions.csv"


def filtered(
    sources: list[ImageTextSource], out: Path, scorer: str, **options: Any
) -> dict[str, list[Any]]:
    """The rows of a selection."""
    engine = {key: options.pop(key) for key in ("engine", "workers") if key in options}
    filter_sources(
        sources,
        [f"source {k}" for k in range(len(sources))],
        scoring=ScoringConfig(scorer=scorer, block_size=4, batch_size=3),
        choosing=ChoiceConfig(**options),
        engine=EngineConfig(out=out, **engine),
    )
    return pq.read_table(out).to_pydict()


def test_the_view_holds_what_scoring_one_by_one_would_keep(
    table: Path, scorer: str, tmp_path: Path
) -> None:
    scenes = SceneTexts(6, size=32)
    captions = CaptionTable(table)
    rows = filtered([captions, scenes], tmp_path / "s.parquet", scorer, keep=(0.8,))
    model = load_scorer(scorer)
    expected = []
    for number, source in enumerate((captions, scenes)):
        for index in range(len(source)):
            for text, caption in enumerate(source.captions(index)):
                broken = number == 0 and index == 3
                score = float("nan")
                if not broken:
                    pixels = source.read(index).image.pixels
                    score = float(model.score([pixels], [caption]))
                expected.append((number, index, text, len(caption.split()), score))
    columns = ("source", "index", "text", "words")
    assert [*zip(*(rows[c] for c in columns), strict=True)] == [row[:4] for row in expected]
    scores = [row[4] for row in expected]
    np.testing.assert_allclose(np.array(rows["score"]), scores, atol=2e-5)
    best = sorted(np.flatnonzero(np.isfinite(scores)), key=lambda k: (-rows["score"][k], k))
    kept = sorted(best[: int(len(best) * 0.8)])
    assert np.flatnonzero(rows["kept"]).tolist() == kept
    assert [rows["rank"][k] for k in best] == [*range(1, len(best) + 1)]
    assert rows["id"][:3] == ["captions.csv:0:0.png", *["captions.csv:1:1.png"] * 2]
    unreadable = [k for k, row in enumerate(expected) if row[:2] == (0, 3)]
    for k in unreadable:
        assert (rows["reason"][k], rows["rank"][k]) == ("unreadable", None)
        assert "3.png: not a readable image" in rows["detail"][k]

    view = through(JoinedTexts([captions, scenes]), tmp_path / "s.parquet")
    assert sum(len(each) for each in (captions, scenes)) - 1 >= len(view) > len(scenes)
    seen = [(view.name(i), caption) for i in range(len(view)) for caption in view.read(i).captions]
    told = [(captions, scenes)[n].captions(i)[t] for n, i, t, _, _ in expected]
    assert seen == [(rows["id"][k], told[k]) for k in kept]
    assert [view.captions(i) for i in range(len(view))] == [
        view[i].captions for i in range(len(view))
    ]
    report = (tmp_path / "s_report/report.md").read_text()
    assert "| unreadable | 1 | 0 | 1 |" in report
    with PillowImage.open(tmp_path / "s_report/worst.png") as sheet:
        assert len(np.unique(np.asarray(sheet.convert("L")))) > 100  # pictures, not paper


def test_a_view_of_another_source_is_refused(table: Path, scorer: str, tmp_path: Path) -> None:
    out = tmp_path / "s.parquet"
    filtered([SceneTexts(4, size=32)], out, scorer)
    for other in (SceneTexts(4, size=32, seed=1), SceneTexts(5, size=32), CaptionTable(table)):
        with pytest.raises(
            ValueError, match=r"s\.parquet was made of source 0 \(4 images\), which"
        ):
            SelectedTexts(other, out)
    SelectedTexts(SceneTexts(4, size=32), out)
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="is no selection: make one with tools/filter_pairs"):
        SelectedTexts(SceneTexts(4, size=32), tmp_path / "other.parquet")
    nothing = r"s\.parquet keeps none of 25 pairs \(25 score below minimum\): raise --keep"
    with pytest.raises(NothingKeptError, match=nothing):
        filtered([SceneTexts(4, size=32)], out, scorer, min_score=1e9)
    with pytest.raises(NothingKeptError, match=r"\(25 rank\)"):
        filtered([SceneTexts(4, size=32)], out, scorer, keep=(0.01,))
    assert (tmp_path / "s_report/report.html").is_file()
    with pytest.raises(ValueError, match="keeps no text of this source"):
        SelectedTexts(SceneTexts(4, size=32), out)


def test_training_sees_what_is_kept_alone_and_resumes_exactly(scorer: str, tmp_path: Path) -> None:
    out = tmp_path / "s.parquet"
    scenes = SceneTexts(24, size=32)
    rows = filtered([scenes], out, scorer, keep=(0.4,))
    kept = {
        scenes.captions(index)[text]
        for index, text, keep in zip(rows["index"], rows["text"], rows["kept"], strict=True)
        if keep
    }

    def data() -> ImageTextData:
        view = ImageTextView(size=32)
        return ImageTextData(scenes, view, selection=str(out), batch_size=3, num_workers=0)

    loader = data().train_dataloader()
    batches = [batch for epoch in range(2) for batch in (loader.sampler.set_epoch(epoch), *loader)]
    batches = [batch for batch in batches if batch is not None]
    assert {text for batch in batches for text in batch["texts"]} <= kept
    first = data()
    iterator = iter(first.train_dataloader())
    next(iterator)
    again = data()
    again.load_state_dict(first.state_dict())
    rest = [*again.train_dataloader()]
    assert len(rest) == len(loader) - 1
    for resumed, whole in zip(rest, batches[1:], strict=False):
        assert resumed["texts"] == whole["texts"]
        assert torch.equal(resumed["images"], whole["images"])


def test_an_interrupted_run_goes_on_and_another_share_needs_no_score(
    scorer: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sources: list[ImageTextSource] = [SceneTexts(16, size=32)]
    whole = filtered(sources, tmp_path / "s.parquet", scorer, duplicates=0.99)
    files = sorted((tmp_path / "s_blocks").glob("*.parquet"))
    assert len(files) == 4
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:-9])
    stamp = files[2].stat().st_mtime_ns
    half_written = files[0].with_name(f".{files[0].name}.1.part")  # by a process that was killed
    half_written.touch()
    capfd.readouterr()
    assert filtered(sources, tmp_path / "s.parquet", scorer, duplicates=0.99) == whole
    assert "2 of 4 blocks are done already" in capfd.readouterr().out
    assert files[2].stat().st_mtime_ns == stamp
    assert not half_written.exists()
    other = filtered(sources, tmp_path / "s.parquet", scorer, duplicates=0.99, keep=(1.0,))
    assert "4 of 4 blocks" in capfd.readouterr().out
    assert other["score"] == whole["score"]
    duplicates = [k for k, reason in enumerate(whole["reason"]) if reason == "duplicate"]
    assert all(whole["detail"][k].startswith("of scene/0/") for k in duplicates)


def test_the_command_names_leaks_and_answers_in_lines(
    table: Path, scorer: str, tmp_path: Path
) -> None:
    tests = tmp_path / "benchmark"
    tests.mkdir()
    with PillowImage.open(tmp_path / "1.png") as image:
        image.transpose(PillowImage.Transpose.ROTATE_90).save(tests / "copy.png")
    arguments = [table, "--scorer", scorer, "--out", tmp_path / "s.parquet"]
    outcome = run("tools/filter_pairs.py", *arguments, "--test_sets", tests, "--keep", "1")
    assert outcome.status == 0, outcome.err
    assert "| leak" in outcome.out
    rows = pq.read_table(tmp_path / "s.parquet").to_pydict()
    leaked = [k for k, reason in enumerate(rows["reason"]) if reason == "leak"]
    assert {rows["id"][k] for k in leaked} == {"captions.csv:1:1.png"}
    assert "benchmark: " in rows["detail"][leaked[0]]
    assert "copy.png (1.00)" in rows["detail"][leaked[0]]
    table.write_text("filepath,title\n0.png,\n1.png,one\n")
    for more, line in (
        (
            [],
            "its title is '', no text; correct it, or count and skip such entries with --on_error",
        ),
        (["--on_error", "skip", "--keep", "0"], "--keep 0.0 is no share in (0, 1]"),
        (["--workers", "2"], "--address, --workers and --gpus are of --engine ray"),
    ):
        outcome = run("tools/filter_pairs.py", *arguments, *more)
        assert outcome.status in (1, 2)
        assert line in outcome.err
        assert "Traceback" not in outcome.err


@pytest.mark.slow
def test_ray_goes_on_after_a_kill_and_scores_as_one_process_does(
    scorer: str, tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="extra scoring is not installed")
    import psutil

    sources: list[ImageTextSource] = [SceneTexts(120, size=32)]
    alone = filtered(sources, tmp_path / "alone.parquet", scorer)
    out = tmp_path / "ray.parquet"
    blocks = tmp_path / "ray_blocks"
    blocks.mkdir()
    for file in sorted((tmp_path / "alone_blocks").glob("*.parquet"))[:3]:  # of a killed run
        (blocks / file.name).write_bytes(file.read_bytes())
    killed = []

    def kill_a_worker() -> None:
        while len([*blocks.glob("*.parquet")]) < 5:
            time.sleep(0.01)
        for process in psutil.Process().children(recursive=True):
            if "MapWorker" in process.name() or "MapWorker" in " ".join(process.cmdline()):
                process.kill()
                killed.append(process.pid)
                return

    killer = threading.Thread(target=kill_a_worker, daemon=True)
    killer.start()
    assert filtered(sources, out, scorer, engine="ray", workers=2) == alone
    killer.join(timeout=5)
    assert killed
    assert len([*blocks.iterdir()]) == 30
