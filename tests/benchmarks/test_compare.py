"""Ways to pretrain, compared: tables by hand, rows of a file, and two small rows in full."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from benchmarks.baselines import compare
from benchmarks.baselines.rows import (
    ROWS,
    FailedRunError,
    Run,
    TrainingOptions,
    folder_name,
    needs_lightly,
    read_rows,
    same_training,
    settings_of,
    train,
)
from benchmarks.baselines.tables import (
    Outcome,
    as_json,
    as_markdown,
    as_results,
    curves_of,
    leads,
    mean_ranks,
)
from cmid.evaluation import Score, read_results
from cmid.visualization.scores import score_figure
from tests.integration.in_process import TINY

ABOUT = {"training": {"seconds": 90.0, "images_seen": 12000}, "label_places": {}}


def outcome(row: str, hits: Sequence[float], *, seeds: int = 1, spread: float = 0.0) -> Outcome:
    """A row of 400 test images; of each measure the share of hits, ``spread`` more by seed."""
    names = ("EuroSAT knn", "EuroSAT linear", "EuroSAT correspondence")
    found = {}
    for seed in range(seeds):
        shares = [round(400 * (share + spread * seed)) for share in hits]
        rows = [np.arange(400) < count for count in shares]
        found[seed] = {k: Score("share", own) for k, own in zip(names, rows, strict=False)}
    return Outcome(row, found, dict.fromkeys(found, ABOUT))


def test_mean_ranks_by_hand() -> None:
    values = {
        "a": {"knn": 0.9, "linear": 0.5, "roads mIoU": 0.1, "1 label": 0.9},
        "b": {"knn": 0.8, "linear": 0.5, "roads mIoU": 0.3, "1 label": 0.1},
        "c": {"knn": 0.7, "linear": 0.4, "roads mIoU": 0.2, "correspondence": 1.0},
    }
    assert mean_ranks(values) == {
        "a": {"pooled": 1.25, "dense": 3, "both": 2.125},
        "b": {"pooled": 1.75, "dense": 1, "both": 1.375},
        "c": {"pooled": 3, "dense": 2, "both": 2.5},
    }


def test_tables_tell_intervals_ties_ranks_and_cost() -> None:
    rows = [
        outcome("CMID", (0.9, 0.6, 0.5)),
        outcome("alike", (0.9, 0.605, 0.4)),
        outcome("worse", (0.5, 0.5, 0.3)),
    ]
    found = leads(rows, rows[0])
    shown = as_markdown(rows, found, command="compare --seeds 0")
    assert "    compare --seeds 0\n" in shown
    assert "| CMID | 1.75 | **1.00** | **1.38** | 90 | 12,000 | 1 |" in shown
    assert "| CMID | **0.900 [0.867, 0.926]** | **0.600 [0.551, 0.647]** |" in shown
    # One image of 400 more is no lead.
    assert "| alike | **0.900 [0.867, 0.926]** | **0.605 [0.556, 0.652]** |" in shown
    assert "| against CMID | EuroSAT knn | EuroSAT linear |" in shown
    line = next(line for line in shown.splitlines() if line.startswith("| alike | tie"))
    assert line.count("tie") == 2
    assert "| worse | -0.400 [" in shown
    content = as_json(rows, found, command="")
    assert content["rows"]["CMID"]["ranks"]["dense"] == 1
    assert content["rows"]["worse"]["seconds"] == 90
    assert {own["measure"] for own in content["differences"] if own["tie"]} == {
        "EuroSAT knn",
        "EuroSAT linear",
    }
    assert len(score_figure(as_results(rows)).axes) == 3


def test_seeds_show_their_spread_and_disagreeing_ones_are_a_tie() -> None:
    steady = outcome("steady", (0.5,), seeds=2)
    unsteady = outcome("unsteady", (0.45,), seeds=2, spread=0.3)
    better = outcome("better", (0.6,), seeds=2, spread=0.01)
    assert unsteady.scores["EuroSAT knn"].value == pytest.approx(0.6)
    assert "0.600 [" in (shown := as_markdown([steady, unsteady], [], command=""))
    assert "] ± 0.150" in shown
    low, _ = unsteady.lead(steady, "EuroSAT knn").interval
    assert low > 0
    assert unsteady.lead(steady, "EuroSAT knn").tie
    assert not better.lead(steady, "EuroSAT knn").tie


def test_rows_compare_on_the_seeds_that_both_have(tmp_path: Path) -> None:
    whole, part = outcome("CMID", (0.9, 0.6, 0.5), seeds=3), outcome("failed", (0.8, 0.6, 0.4))
    compare._write(tmp_path, [whole, part], against="CMID", command="")
    shown = (tmp_path / "comparison.md").read_text()
    assert "| failed | -0.100 [" in shown
    lead = part.lead(whole, "EuroSAT knn")
    assert lead == outcome("failed", (0.8,)).lead(outcome("CMID", (0.9,)), "EuroSAT knn")
    assert not lead.tie
    other = Outcome("other", {5: part.found[0]}, {5: ABOUT})
    compare._write(tmp_path, [whole, other], against="CMID", command="")
    assert "| other | tie | tie |" in (tmp_path / "comparison.md").read_text()
    differences = json.loads((tmp_path / "comparison.json").read_text())["differences"]
    assert differences[0]["tie"]
    assert differences[0]["interval"] == [None, None]


def test_curves_are_by_row_and_way_to_learn() -> None:
    about = {0: ABOUT | {"label_places": {"UCM": {"1 label": 1.0, "all labels": 80.0}}}}
    points = {k: Score("draws", np.ones((4, 1))) for k in ("UCM 1 label", "UCM all labels")}
    scratch = {"UCM from scratch, 1 label": Score("draws", np.zeros((4, 1)))}
    rows = [
        Outcome("random", {0: {**points, **scratch}}, about),
        Outcome("CMID", {0: {**points}}, about),
    ]
    curves = curves_of(rows, "UCM", scratch="from scratch, ")
    assert curves is not None
    assert [*curves.found] == ["random, from scratch", "random, frozen", "CMID, frozen"]
    assert [*curves.found["random, from scratch"]] == ["1 label"]
    assert [*curves.found["CMID, frozen"]] == ["1 label", "all labels"]


def test_rows_of_a_file_are_lists_of_words(tmp_path: Path) -> None:
    path = tmp_path / "more.yaml"
    path.write_text("sharper: [--model.temperature, 0.07]\nplain: []\nx: [--a, true, --b=1e-3]\n")
    rows = read_rows(path)
    assert rows == {
        "sharper": ["--model.temperature", "0.07"],
        "plain": [],
        "x": ["--a", "true", "--b=1e-3"],
    }
    assert not needs_lightly([*rows.values(), None])
    assert needs_lightly([["--model.class_path=benchmarks.baselines.BYOL"]])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[1, 2", "is not YAML"),
        ("- a\n", "names of rows"),
        ("", "names of rows"),
        ("a: --model.temperature 1\n", "needs a list"),
        ("a: [{b: 1}]\n", "needs a list"),
        ("a: [model.temperature, 1]\n", "not an option"),
        ("CMID: []\n", "another name"),
        ("a/b: []\na b: []\n", "another name"),
        ("1: []\n", "not a name"),
    ],
)
def test_files_that_are_no_rows_are_named_in_a_line(
    text: str, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "more.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=expected) as caught:
        read_rows(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_runs_have_folders_of_their_own() -> None:
    assert len({folder_name(row, 0) for row in ROWS}) == len(ROWS)
    assert folder_name("CMID, a/b", 1) == "CMID_a_b-1"


def test_a_training_is_told_by_what_its_configuration_and_folder_hold(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    run = Run("CMID", 0, [], tmp_path)
    found = []
    for rate, name in ((0.1, "a"), (0.2, "a"), (0.2, "b")):
        config.write_text(f"# a remark {name}\nmodel: {{rate: {rate}}}")
        images = tmp_path / name / "train"
        images.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(images / f"{name}.png")
        options = TrainingOptions(images=str(images))
        found.append(settings_of(run, options, config=str(config)))
    assert not same_training(found[0], found[1])
    assert not same_training(found[1], found[2])
    config.write_text("model:\n  rate: 0.2")
    assert same_training(found[2], settings_of(run, options, config=str(config)))
    earlier = {key: value for key, value in found[0].items() if "digest" not in key}
    assert same_training(earlier, found[2])


def test_time_until_the_last_checkpoint_counts_of_a_training_that_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(words: Sequence[str], *_: object, **__: object) -> None:
        assert words[words.index("--ckpt_path") :][:2] == ["--ckpt_path", "last"]
        raise FailedRunError("no")

    monkeypatch.setattr("benchmarks.baselines.rows.execute", fail)
    config, checkpoint = tmp_path / "mine.yaml", tmp_path / "checkpoints" / "last.ckpt"
    config.write_text("model: {}")
    checkpoint.parent.mkdir()
    checkpoint.touch()
    os.utime(checkpoint, (1040.0, 1040.0))
    record = tmp_path / "training.json"
    record.write_text(json.dumps({"finished": False, "seconds": 20.0, "started": 1000.0}))
    for _ in range(2):  # the second follows a failure, whose time is counted already
        with pytest.raises(FailedRunError):
            train(
                Run("CMID", 0, [], tmp_path),
                TrainingOptions(),
                config=str(config),
                device="cpu",
                env={},
            )
        assert json.loads(record.read_text())["seconds"] == pytest.approx(60.0, abs=5)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two classes of two colours with noise, and masks of bright squares."""
    rng = np.random.default_rng(0)

    def save(path: str, pixels: np.ndarray) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / path)

    for part, count in (("train", 12), ("val", 15)):
        for number in range(2 * count):
            pixels = rng.integers(60, 140, (64, 64, 3))
            pixels[..., number % 2] += 50
            save(f"eurosat/{part}/{'ab'[number % 2]}/{number}.png", pixels)
    for number in range(4):
        mask = np.zeros((64, 64))
        mask[16 * number :, 32:] = 1
        save(f"roads/ann_dir/{number}.png", mask)
        save(
            f"roads/img_dir/{number}.png", 100 * mask[..., None] + rng.integers(0, 99, (64, 64, 3))
        )
    settings: dict[str, Any] = {}
    for name, value in TINY.items():
        *folders, last = name.split(".")
        place = settings
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = value
    settings["data"]["source"]["init_args"] = {"root": str(tmp_path / "eurosat/train")}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path


@pytest.mark.slow
def test_two_rows_are_trained_measured_and_kept(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    out = data / "out"
    (data / "more.yaml").write_text(
        "cooler: [--model.temperature, 0.3]\nbroken: [--model.temprature, 1]\n"
    )
    words = ["--out", str(out), "--eurosat", str(data / "eurosat")]
    words += ["--roads", str(data / "roads"), "--config", str(data / "tiny.yaml")]
    words += ["--more", str(data / "more.yaml"), "--device", "cpu", "--epochs", "1", "--jobs", "2"]
    words += ["--labels", "1", "all", "--scratch_steps", "2", "--draws", "3", "--traceback"]
    rows = ["--rows", "random initialisation", "cooler", "broken"]
    limit = ["--extra", "--trainer.limit_train_batches", "2"]
    with pytest.raises(FailedRunError, match=r"1 of 3 runs failed: broken, seed 0: see .*log\.txt"):
        compare.main([*words, *rows, *limit])
    assert "temprature" in (out / "broken-0" / "log.txt").read_text()
    shown = capsys.readouterr().out
    assert "| against random initialisation | EuroSAT knn |" in shown
    assert "By chance: EuroSAT correspondence 0.250" in shown
    scores = read_results(out / "cooler-0" / "scores.json")
    assert scores.about["training"]["images_seen"] == 2 * TINY["data.batch_size"]
    assert scores.about["training"]["seconds"] > 0
    assert {"roads mIoU", "EuroSAT 10-shot", "EuroSAT all labels"} <= {*scores.found["cooler"]}
    assert "EuroSAT correspondence within 1 cell" in scores.found["cooler"]
    few = scores.found["cooler"]["EuroSAT 1-shot"]
    assert isinstance(few, Score)
    assert few.rows.shape == (30, 3)
    assert not (out / "cooler-0" / "checkpoints").exists()
    untrained = read_results(out / "random_initialisation-0" / "scores.json")
    assert "EuroSAT from scratch, 1 label" in untrained.found["random initialisation"]
    written = {path.name for path in out.glob("*.*")}
    assert written == {"comparison.json", "comparison.md", "comparison.png", "labels-EuroSAT.png"}

    # What lies there is not made again, also where only scores were kept.
    def never(*_: object, **__: object) -> None:
        raise AssertionError("this was made before")

    monkeypatch.setattr("benchmarks.baselines.rows.execute", never)
    monkeypatch.setattr(compare, "execute", never)
    compare.main([*words, "--rows", "random initialisation", "cooler", *limit])
    assert "measuring" not in capsys.readouterr().out
    # A training with other options is not taken for one with these.
    with pytest.raises(FailedRunError, match="with other options: give another --out"):
        compare.main([*words, "--rows", "cooler"])
    assert json.loads((out / "cooler-0" / "training.json").read_text())["finished"]


def test_unknown_rows_are_named_before_anything_is_trained(data: Path) -> None:
    words = ["--out", str(data / "out"), "--eurosat", str(data / "eurosat"), "--traceback"]
    with pytest.raises(ValueError, match="'CMDI' is none of"):
        compare.main([*words, "--rows", "CMDI"])
    with pytest.raises(ValueError, match="--against 'BYOL'"):
        compare.main([*words, "--rows", "CMID", "--against", "BYOL"])
