"""Mean IoU has one meaning, whoever asks for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from cmid.evaluation import Vocabulary, dense, evaluate_segmentation, segmentation_scores
from cmid.evaluation.iou import class_iou, confusion_matrix, mean_iou

CLASSES = 5  # the last one occurs nowhere, the third only in the prediction


def arrays(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, 2, (12, 9), generator=generator)
    truth[0] = 3
    labels = torch.where(
        torch.rand(12, 9, generator=generator) < 0.6,
        truth,
        torch.randint(0, 4, (12, 9), generator=generator),
    )
    truth[2, :4] = 255
    return truth.to(torch.uint8), labels


def by_hand(pairs: list[tuple[Tensor, Tensor]]) -> float:
    scores = []
    for number in range(CLASSES):
        meet = joined = 0
        for truth, labels in pairs:
            valid = truth != 255
            a, b = (truth == number) & valid, (labels == number) & valid
            meet, joined = meet + int((a & b).sum()), joined + int((a | b).sum())
        scores += [meet / joined] if joined else []
    return float(np.mean(scores))


def with_both_callers(
    pairs: list[tuple[Tensor, Tensor]], monkeypatch: pytest.MonkeyPatch
) -> list[float]:
    """What the dense probe and open-vocabulary segmentation make of given predictions."""
    one_hot = [torch.nn.functional.one_hot(p, CLASSES).permute(2, 0, 1).float() for _, p in pairs]
    masks = [truth for truth, _ in pairs]
    pixels = torch.zeros(3, 12, 9, dtype=torch.uint8)
    cells = torch.randn(8, 3), torch.nn.functional.one_hot(torch.arange(8) % 2, CLASSES).float()
    monkeypatch.setattr(dense, "_training_cells", lambda *_, **__: cells)
    monkeypatch.setattr(dense, "_predictions", lambda *_: zip(masks, one_hot, strict=True))
    data = [(pixels, mask) for mask in masks]
    probe = dense.dense_probe(None, data, data, num_classes=CLASSES)  # type: ignore[arg-type]
    answers = iter(one_hot)
    monkeypatch.setattr(segmentation_scores, "class_probabilities", lambda *_, **__: next(answers))
    vocabulary = Vocabulary.parse(list("abcde"))
    scores = evaluate_segmentation(
        None,  # type: ignore[arg-type]
        data,
        queries=torch.zeros(5, 2),
        vocabulary=vocabulary,
    )
    assert "IoU 4" not in probe
    assert np.isnan(scores.per_class["e"])
    return [probe["mIoU"], scores.mean_iou]


def test_both_callers_leave_absent_classes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [arrays(0), arrays(1)]
    expected = by_hand(pairs)
    assert with_both_callers(pairs, monkeypatch) == pytest.approx([expected] * 2)


def test_the_mean_is_that_of_mmsegmentation() -> None:
    pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")
    from mmseg.evaluation import IoUMetric

    pairs = [arrays(2), arrays(3)]
    metric = IoUMetric(ignore_index=255, iou_metrics=["mIoU"])
    metric.dataset_meta = {"classes": tuple("abcde")}
    results = [metric.intersect_and_union(p, t, CLASSES, 255) for t, p in pairs]
    theirs = metric.compute_metrics(results)
    total = sum(confusion_matrix(labels, truth, CLASSES) for truth, labels in pairs)
    assert 100 * float(mean_iou(total)) == pytest.approx(theirs["mIoU"], abs=0.005001)
    assert float(mean_iou(total)) == pytest.approx(by_hand(pairs))
    assert class_iou(total).isnan().tolist() == [False] * 4 + [True]


def test_masks_without_a_pixel_that_counts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, labels = arrays(0)
    with pytest.raises(ValueError, match="nothing to score"):
        with_both_callers([(torch.full_like(truth, 255), labels)], monkeypatch)
