from __future__ import annotations

import multiprocessing as mp
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")

from sklearn.metrics import accuracy_score, jaccard_score, precision_recall_fscore_support

from benchmarks.change_detection.metrics import ChangeMetric

SAMPLES = 5


def samples() -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    found = []
    for number in range(SAMPLES):
        truth = torch.randint(0, 2, (1, 9, 7 + number), generator=generator)
        truth[torch.rand(truth.shape, generator=generator) < 0.2] = 255
        prediction = torch.randint(0, 2, truth.shape, generator=generator)
        found.append({"gt_sem_seg": {"data": truth}, "pred_sem_seg": {"data": prediction}})
    return found


def evaluate(chosen: list[dict[str, Any]], size: int) -> dict[str, float]:
    metric = ChangeMetric()
    for sample in chosen:
        metric.process({}, [sample])
    return metric.evaluate(size)


def test_scores_are_scikit_learns() -> None:
    truth = torch.cat([s["gt_sem_seg"]["data"].flatten() for s in samples()])
    prediction = torch.cat([s["pred_sem_seg"]["data"].flatten() for s in samples()])
    truth, prediction = truth[truth != 255], prediction[truth != 255]
    precision, recall, f1, _ = precision_recall_fscore_support(truth, prediction, average="binary")
    assert evaluate(samples(), SAMPLES) == pytest.approx(
        {
            "change/precision": precision,
            "change/recall": recall,
            "change/f1": f1,
            "change/iou": jaccard_score(truth, prediction),
            "change/accuracy": accuracy_score(truth, prediction),
        }
    )


def test_scores_without_change_are_zero_and_without_labels_an_error() -> None:
    blank = torch.zeros(1, 3, 3, dtype=torch.long)
    sample = {"gt_sem_seg": {"data": blank}, "pred_sem_seg": {"data": blank[0]}}
    scores = evaluate([sample], 1)
    assert scores.pop("change/accuracy") == 1
    assert set(scores.values()) == {0}
    with pytest.raises(ValueError, match="no pixel of the evaluated pairs is labelled"):
        evaluate([{**sample, "gt_sem_seg": {"data": blank + 255}}], 1)


def _share(rank: int, store: str, queue: Any) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    everything = samples()
    # As a sampler deals them out: the last process gets the first sample again.
    chosen = [everything[index % SAMPLES] for index in range(rank, SAMPLES + 1, 2)]
    scores = evaluate(chosen, SAMPLES)
    dist.destroy_process_group()
    queue.put(scores)


def test_two_processes_score_as_one(tmp_path: Path) -> None:
    context = mp.get_context("fork")
    queue = context.Queue()
    processes = [
        context.Process(target=_share, args=(rank, str(tmp_path / "store"), queue))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    found = [queue.get(timeout=900) for _ in processes]
    for process in processes:
        process.join(timeout=900)
    expected = evaluate(samples(), SAMPLES)
    assert found == [expected, expected]
