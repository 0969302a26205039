"""The best of several answers: picks, accuracy against N, runs that go on."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cmid.vision_language.scoring.best_of_n import (
    SAMPLES,
    accuracy_curve,
    best_of_n,
    is_right,
    vote,
)
from cmid.vision_language.scoring.best_of_n_config import BestOfNConfig
from cmid.vision_language.scoring.questions import Question
from tests.integration.in_process import run


def row(samples: list[str], right: list[bool], **scores: list[float | None]) -> dict[str, Any]:
    return {"samples": samples, "right": right, "scores": scores}


def question(answer: str, kind: str = "exact", **columns: Any) -> Question:
    image = torch.zeros(3, 50, 100, dtype=torch.uint8)
    return Question("q", image, "?", answer, kind, columns)


def test_the_vote_compares_answers_and_takes_the_first_of_equals() -> None:
    said = "<think>{}</think><answer>{}</answer>"
    assert vote(["b", said.format("x", "A"), said.format("y", " a.")]) == 1
    assert vote(["b", "a", "c"]) == 0
    assert vote(["c", "a", "b", "b", "a"]) == 1


def test_the_curve_is_the_mean_over_all_choices_of_n() -> None:
    samples, right = ["a", "b", "b", "c"], [True, False, False, True]
    scores = [0.1, 0.5, 0.2, None]
    curve = accuracy_curve([row(samples, right, scorer=scores)] * 400)
    numbers = [0.1, 0.5, 0.2, -1]
    for size in range(1, 5):
        subsets = [*itertools.combinations(range(4), size)]
        picked = [max(subset, key=lambda k: numbers[k]) for subset in subsets]
        expected = sum(right[k] for k in picked) / len(subsets)
        assert curve["scorer"][size - 1][:2] == (size, pytest.approx(expected, abs=0.02))
        expected = sum(any(right[k] for k in subset) for subset in subsets) / len(subsets)
        assert curve["oracle"][size - 1][1] == pytest.approx(expected, abs=0.02)
    assert curve["majority"][3][1] == 0
    assert curve["majority"][0][1] == pytest.approx(0.5, abs=0.02)


def test_a_scorer_that_knows_the_truth_is_the_oracle() -> None:
    generator = torch.Generator().manual_seed(0)
    rights = (torch.rand(30, 6, generator=generator) < 0.3).tolist()
    rows = [row([*"abcdef"], right, scorer=[float(r) for r in right]) for right in rights]
    curve = accuracy_curve(rows)
    assert curve["scorer"] == curve["oracle"]
    accuracies = [accuracy for _, accuracy, _ in curve["oracle"]]
    assert accuracies == sorted(accuracies)


def test_questions_without_a_known_answer_have_no_influence() -> None:
    known = row(["a", "b"], [True, False], scorer=[1.0, 0.0])
    unknown = {**known, "right": None}
    assert accuracy_curve([unknown]) == {}
    assert accuracy_curve([known, known, unknown]) == accuracy_curve([known, known])


def test_answers_are_right_by_their_kind() -> None:
    assert is_right(question("two ships"), "<think>x</think><answer>Two ships.</answer>")
    assert is_right(question("two ships"), "two ships")  # a model that was not told to think
    assert not is_right(question("two ships"), "ships")
    assert not is_right(question("."), "")
    assert is_right(question("anything", "open"), "a") is None
    boxes = question("[0, 0, 50, 50]", "iou", grid="normalised", answer_grid="pixel")
    assert is_right(boxes, "[0, 0, 0.4, 1]")
    assert not is_right(boxes, "[0, 0, 0.2, 1]")


@pytest.fixture
def config(answerer_folder: Path, tmp_path: Path) -> BestOfNConfig:
    return BestOfNConfig(
        "scenes",
        model=str(answerer_folder),
        out=tmp_path / "out",
        num_scenes=3,
        n=3,
        max_new_tokens=12,
        batch_size=4,
        device="cpu",
    )


def test_a_run_that_was_stopped_goes_on_to_the_same_rows(
    config: BestOfNConfig, tmp_path: Path
) -> None:
    whole = best_of_n(config)
    assert len(whole) > config.batch_size
    assert all(len(row["samples"]) == 3 for row in whole)
    path = config.out / SAMPLES
    written = path.read_text()
    lines = written.splitlines(keepends=True)
    # Stopped within the second batch, within a line.
    path.write_text("".join(lines[:6]) + lines[6][:20])
    assert best_of_n(config) == whole
    assert path.read_text() == written
    assert best_of_n(replace(config, limit=2)) == whole[:2]
    other = replace(config, out=tmp_path / "other", limit=5)
    best_of_n(other)
    assert best_of_n(replace(other, limit=None)) == whole
    with pytest.raises(ValueError, match="was drawn with --n 3: go on with that, or change --out"):
        best_of_n(replace(config, n=4))
    assert best_of_n(replace(config, out=tmp_path / "third", seed=9)) != whole


def test_a_run_goes_on_where_answers_hold_what_unicode_calls_line_ends(
    config: BestOfNConfig,
) -> None:
    class Foreign:
        def sample(self, images: list[Any], *_: Any, count: int, **__: Any) -> list[list[str]]:
            return [["a\u2028b\x85c", *["é"] * (count - 1)]] * len(images)

    def opened(*_: Any) -> Foreign:
        return Foreign()

    whole = best_of_n(config, open_sampler=opened)
    path = config.out / SAMPLES
    written = path.read_bytes()
    # Stopped within a letter of the second batch.
    path.write_bytes(written[: written.rindex("é".encode()) + 1])
    assert best_of_n(config, open_sampler=opened) == whole
    assert path.read_bytes() == written


def test_a_model_that_does_not_open_leaves_the_folder_to_another(config: BestOfNConfig) -> None:
    with pytest.raises(FileNotFoundError, match="no model a/misspelt/one"):
        best_of_n(replace(config, model="a/misspelt/one"))
    rows = best_of_n(config)
    assert best_of_n(config) == rows


def test_the_command_picks_the_highest_scores_and_reports(
    config: BestOfNConfig, tiny_clip: str, tmp_path: Path
) -> None:
    from cmid.vision_language.clip.building import build_clip
    from cmid.vision_language.clip.config import CLIPConfig
    from cmid.vision_language.clip.storage import save_clip
    from cmid.vision_language.scoring.dual_encoder import DualEncoderScorer
    from cmid.vision_language.scoring.storage import save_scorer

    clip = build_clip(CLIPConfig(tiny_clip))
    save_clip(clip, tmp_path / "clip")
    save_scorer(DualEncoderScorer(clip), tmp_path / "scorer")
    options = ["--n", "3", "--num_scenes", "3", "--max_new_tokens", "12", "--device", "cpu"]
    options += [
        "--preferences",
        "--scorer",
        str(tmp_path / "scorer"),
        "--clip",
        str(tmp_path / "clip"),
    ]
    command = ["scenes", "--model", config.model, "--out", str(config.out), *options]
    outcome = run("tools/best_of_n.py", *command)
    assert outcome.status == 0, outcome.err[-3000:]
    assert "| accuracy, %, at N | scorer" in outcome.out
    rows = [json.loads(line) for line in (config.out / SAMPLES).read_text().splitlines()[1:]]
    for entry in rows:
        # Untrained, the scorer is the CLIP; an empty answer is never picked.
        assert entry["scores"]["scorer"] == entry["scores"]["CLIP"]
        scores = [-1e9 if s is None else s for s in entry["scores"]["scorer"]]
        best = entry["samples"][scores.index(max(scores))]
        assert entry["pred"]["scorer"] in best
    assert set(json.loads((config.out / "results.json").read_text())["accuracy"]) == {
        *("scorer", "CLIP", "majority", "oracle")
    }
    preferences = json.loads((config.out / "preferences.json").read_text())
    assert preferences
    for entry in preferences:
        assert (config.out / entry["image_path"]).is_file()
        assert entry["chosen"] not in entry["rejected"]
    assert {"report.html", "report.md", "accuracy.png"} <= {f.name for f in config.out.iterdir()}


def test_errors_of_the_command_are_one_line(tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "out")]
    outcome = run("tools/best_of_n.py", "no.json", "--model", "no/model", *out)
    assert outcome.status == 1
    assert "no.json" in outcome.err.splitlines()[-1]
    outcome = run("tools/best_of_n.py", "scenes", "--num_scenes", "1", "--model", "./no", *out)
    assert outcome.status == 1
    assert "Traceback" not in outcome.err
