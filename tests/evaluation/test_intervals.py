"""Intervals hold what they say, and scores are those of the libraries that everybody uses."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics
from torchmetrics.functional.classification import (
    multiclass_jaccard_index,
    multilabel_average_precision,
    multilabel_f1_score,
)

from cmid.evaluation import bootstrap, proportion
from cmid.evaluation.intervals import over_draws, paired_proportions
from cmid.evaluation.results import Results, read_results
from cmid.evaluation.score import KINDS, Score, mean_score
from cmid.reporting import markdown_table
from cmid.visualization.scores import score_figure

RNG = np.random.default_rng(0)


def test_intervals_hold_the_score() -> None:
    low, high = proportion(90, 100)
    assert (low, high) == pytest.approx((0.826, 0.945), abs=1e-3)
    assert proportion(0, 10)[0] == 0
    assert all(map(math.isnan, proportion(0, 0)))
    values = np.arange(100) / 99
    low, high = bootstrap(lambda rows: float(values[rows].mean()), 100)
    assert 0.42 < low < 0.47 < 0.53 < high < 0.58
    assert all(map(math.isnan, bootstrap(lambda rows: 0.0, 1)))
    together = bootstrap(lambda rows: values[rows].mean(axis=1), 100, vectorized=True)
    assert together == pytest.approx((low, high))


def share(rng: np.random.Generator) -> tuple[tuple[float, float], float]:
    return Score("share", rng.random(80) < 0.85).interval, 0.85


def skewed_mean(rng: np.random.Generator) -> tuple[tuple[float, float], float]:
    return Score("mean", rng.beta(2, 5, 80)).interval, 2 / 7


def f1_over_images(rng: np.random.Generator) -> tuple[tuple[float, float], float]:
    truth, right = rng.random(120) < 0.4, rng.random(120) < 0.8
    predicted = np.where(right, truth, ~truth)
    rows = np.stack([2.0 * (truth & predicted), 1.0 * truth + predicted], axis=1)
    return Score("ratio", rows).interval, 2 * 0.32 / (0.4 + 0.32 + 0.12)


def paired(rng: np.random.Generator) -> tuple[tuple[float, float], float]:
    """Two backbones that mostly err on the same images."""
    hard = rng.random(100)
    first, second = hard + 0.1 * rng.random(100) < 0.85, hard + 0.1 * rng.random(100) < 0.80
    return Score("share", first).lead(Score("share", second))[1], 0.05


def draws(rng: np.random.Generator) -> tuple[tuple[float, float], float]:
    """Draws that differ, on images that differ."""
    chance = 0.6 + 0.05 * rng.standard_normal(10) + 0.2 * rng.standard_normal((100, 1))
    return over_draws((rng.random((100, 10)) < chance).astype(float)), 0.6


def of_seeds(rng: np.random.Generator, chance: float, *, count: int = 100, seeds: int = 3) -> Score:
    """Networks that mostly err on the same images."""
    of_images = rng.beta(chance, 1 - chance, (count, 1))
    return mean_score([Score("share", own) for own in (rng.random((count, seeds)) < of_images).T])


def mean_share(rng: np.random.Generator) -> tuple[tuple[float, float], float]:
    return of_seeds(rng, 0.85).interval, 0.85


def mean_share_near_all(rng: np.random.Generator) -> tuple[tuple[float, float], float]:
    return of_seeds(rng, 0.98).interval, 0.98


def paired_means(rng: np.random.Generator) -> tuple[tuple[float, float], float]:
    """Rows of two seeds each, and images that are hard for both."""
    hard, noise = rng.random((200, 1)), 0.3 * rng.random((200, 4))
    hits = [Score("share", own) for own in (hard + noise < [0.85, 0.85, 0.8, 0.8]).T]
    return mean_score(hits[:2]).lead(mean_score(hits[2:]))[1], 0.05


def iou_of_few(rng: np.random.Generator) -> tuple[tuple[float, float], float]:
    """Twenty images; each holds much of one class, and is learned well or badly."""
    parts, right = rng.dirichlet((0.3, 0.3), 20) * 1000, rng.beta(4, 1, (20, 2))
    hits, missed = parts * right, parts * (1 - right)
    rows = np.stack([hits, missed], axis=2)
    rows[:, 1] = rows[:, 1, ::-1]  # true classes in rows, found ones in columns
    return Score("mIoU", rows).interval, 0.8 / 1.2


def error_of_few(rng: np.random.Generator) -> tuple[tuple[float, float], float]:
    return Score("root", rng.standard_normal(50) ** 2).interval, 1.0


def explained_of_few(rng: np.random.Generator) -> tuple[tuple[float, float], float]:
    true = rng.standard_normal(20)
    rows = np.stack([true + 0.5 * rng.standard_normal(20), true], axis=1)
    return Score("R2", rows).interval, 0.75


DRAWN = [share, skewed_mean, f1_over_images, paired, draws]
DRAWN += [mean_share, mean_share_near_all, paired_means]
DRAWN += [iou_of_few, error_of_few, explained_of_few]


@pytest.mark.parametrize("drawn", DRAWN)
def test_of_a_hundred_intervals_of_95_percent_92_to_98_hold_the_truth(
    drawn: Callable[[np.random.Generator], tuple[tuple[float, float], float]],
) -> None:
    rng = np.random.default_rng(1)
    held = [low <= truth <= high for (low, high), truth in (drawn(rng) for _ in range(400))]
    assert 0.92 <= np.mean(held) <= 0.98


def test_scores_equal_scikit_learn_and_torchmetrics() -> None:
    truth = (RNG.random((60, 4)) < 0.4).astype(np.int64)
    votes = (RNG.random((60, 4)).round(1) * 0.7 + 0.3 * truth).astype(np.float32)  # with ties
    both = np.stack([votes, truth.astype(np.float32)], axis=1)
    assert Score("AP", both).value == pytest.approx(
        metrics.average_precision_score(truth, votes), abs=1e-6
    )
    tensors = torch.from_numpy(votes), torch.from_numpy(truth)
    expected = multilabel_average_precision(*tensors, num_labels=4)
    assert Score("AP", both).value == pytest.approx(float(expected), abs=1e-6)
    said = votes > 0.5
    parts = np.stack([2 * said * truth, said + truth], axis=1)
    for average, rows in (("micro", parts.sum(axis=2)), ("macro", parts)):
        value = Score("ratio", rows).value
        assert value == pytest.approx(metrics.f1_score(truth, said, average=average), abs=1e-6)
        expected = multilabel_f1_score(*tensors, num_labels=4, average=average)
        assert value == pytest.approx(float(expected), abs=1e-6)
    masks, found = RNG.integers(0, 3, (2, 20, 8, 8))
    each = [
        metrics.confusion_matrix(*map(np.ravel, pair)) for pair in zip(masks, found, strict=True)
    ]
    value = Score("mIoU", np.stack(each)).value
    expected = multiclass_jaccard_index(*map(torch.from_numpy, (found, masks)), num_classes=3)
    assert value == pytest.approx(float(expected), abs=1e-6)
    classes, clusters = RNG.integers(0, 5, (2, 90))
    assert Score("NMI", np.stack([classes, clusters], axis=1)).value == pytest.approx(
        metrics.normalized_mutual_info_score(classes, clusters), abs=1e-6
    )
    predicted, true = RNG.standard_normal((2, 50)) + 100
    value = Score("R2", np.stack([predicted, true], axis=1)).value
    assert value == pytest.approx(metrics.r2_score(true, predicted), abs=1e-6)
    assert Score("root", (predicted - true) ** 2).value == pytest.approx(
        metrics.root_mean_squared_error(true, predicted), abs=1e-6
    )


ROWS = {
    "share": RNG.random(30) < 0.6,
    "shares": RNG.integers(0, 3, 30) / 2,
    "draws": RNG.random((30, 4)) < 0.6,
    "mean": RNG.random(30),
    "root": RNG.random(30),
    "ratio": RNG.integers(0, 5, (30, 2, 3)),
    "AP": np.stack([RNG.random((30, 2)).round(1), RNG.random((30, 2)) < 0.4], axis=1),
    "mIoU": RNG.integers(0, 9, (30, 3, 3)),
    "NMI": RNG.integers(0, 3, (30, 2)),
    "R2": RNG.standard_normal((30, 2)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_that_is_drawn_twice_counts_twice(kind: str) -> None:
    drawn = RNG.integers(0, 30, 30)
    counts = np.bincount(drawn, minlength=30)[None].astype(float)
    expected = Score(kind, ROWS[kind][drawn]).value
    assert KINDS[kind](ROWS[kind], counts)[0] == pytest.approx(expected, abs=1e-9)
    low, high = Score(kind, ROWS[kind]).interval
    assert low < Score(kind, ROWS[kind]).value < high
    value, (low, high) = Score(kind, ROWS[kind]).lead(Score(kind, ROWS[kind]))
    assert value == 0
    assert low <= 0 <= high


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("share", (40,)),
        ("mean", (40,)),
        ("draws", (40, 5)),
        ("draws", (40, 1)),
        ("ratio", (40, 2)),
        ("mIoU", (40, 3, 3)),
    ],
)
def test_mean_of_several_networks_is_the_mean_of_their_scores(
    kind: str, shape: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(1)
    each = [Score(kind, rng.integers(0, 2, shape) > 0) for _ in range(3)]
    if kind in ("ratio", "mIoU"):
        each = [Score(kind, rng.integers(1, 9, shape).astype(float)) for _ in range(3)]
    mean = mean_score(each)
    assert len(mean.rows) == 40
    assert mean.value == pytest.approx(np.mean([own.value for own in each]), abs=1e-12)
    low, high = mean.interval
    assert low < mean.value < high
    # Networks that agree leave the interval of one as it is; others' errors average out.
    assert high - low < max(np.diff(own.interval)[0] for own in each)
    value, (low, high) = mean.lead(mean_score(each[::-1]))
    alike = paired_proportions(np.ones(40), np.ones(40)) if mean.kind == "shares" else (0, 0)
    assert (value, low, high) == pytest.approx((0, *alike), abs=1e-12)
    assert mean_score(each[:1]) is each[0]


def test_scores_without_a_mean_are_refused() -> None:
    with pytest.raises(ValueError, match="AP"):
        mean_score([Score("AP", np.ones((4, 2, 1)))] * 2)
    with pytest.raises(ValueError, match="2 kinds"):
        mean_score([Score("share", np.ones(4)), Score("share", np.ones(5))])


def test_few_images_that_differ_are_no_difference() -> None:
    first = np.ones(400, dtype=bool)
    for wrong, differ in ((0, False), (4, False), (9, True)):
        second = first.copy()
        second[:wrong] = False
        assert (paired_proportions(first, second)[0] > 0) == differ
    with pytest.raises(ValueError, match="does not compare"):
        Score("share", first).lead(Score("share", first[1:]))


def test_few_images_and_all_hits_are_no_more_certain_with_more_seeds() -> None:
    first = np.ones(400, dtype=bool)
    second = first & (np.arange(400) >= 4)
    alone = Score("share", second)
    for rows in (second, second & (np.arange(400) < 399)):
        one, two = Score("share", first), mean_score([alone, Score("share", rows)])
        (value, (low, high)), missed = mean_score([one, one]).lead(two), 1 - two.value
        assert value == pytest.approx(missed)
        assert low < 0 < high
        assert two.lead(one)[1] == pytest.approx((-high, -low))  # of unequal numbers of seeds
    agreeing = mean_score([alone, alone, alone])
    assert agreeing.interval == pytest.approx(alone.interval)
    assert mean_score([one, one]).interval == pytest.approx(proportion(400, 400))
    assert mean_score([one, one]).lead(agreeing)[1] == pytest.approx(one.lead(alone)[1])


def compared() -> Results:
    rng = np.random.default_rng(2)
    good = rng.random(300) < 0.8
    twin = np.where(rng.random(300) < 0.04, ~good, good)
    results = Results({"data": "x", "test_digest": "same"})
    for name, hits in (("good", good), ("twin", twin), ("poor", rng.random(300) < 0.5)):
        results.add(name, {"knn": Score("share", hits), "knn k": 20.0})
    return results


def test_ties_are_printed_as_ties_and_share_the_lead() -> None:
    printed = "\n".join(map(markdown_table, compared().tables()))
    lines = {line.split(" |")[0][2:]: line for line in printed.split("\n")}
    assert lines["good"].count("**") == lines["twin"].count("**") == 2
    assert "**" not in lines["poor"]
    assert "| tie [-0" in lines["good - twin"]
    assert "| +0." in lines["good - poor"]
    assert "| +0." in lines["twin - poor"]


def test_results_are_written_and_read_again_image_by_image(tmp_path: Path) -> None:
    results = compared()
    results.write(tmp_path / "scores.json")
    content = json.loads((tmp_path / "scores.json").read_text())
    low, high = content["intervals"]["good"]["knn"]
    assert low < content["results"]["good"]["knn"] < high
    assert [each["tie"] for each in content["differences"]] == [True, False, False]
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 4
    again = read_results(tmp_path / "scores.json")
    assert again.differences == results.differences
    assert again.found["poor"]["knn k"] == 20
    assert len(score_figure(again).axes) == 1
    (tmp_path / "scores.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"scores\.safetensors does not exist"):
        read_results(tmp_path / "scores.json")
