"""All frozen-feature measures of one backbone on one data set."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cmid.evaluation.knn import knn_scores
from cmid.evaluation.linear import few_shot_hits, linear_probe
from cmid.evaluation.multilabel import multilabel_results
from cmid.evaluation.regression import ridge_probe
from cmid.evaluation.retrieval import clusters_of, retrieval_results
from cmid.evaluation.score import Score

logger = logging.getLogger(__name__)

Labelled = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class MeasureConfig:
    """Settings of the measures.

    Attributes:
        k: neighbours that vote. temperature: softmax temperature of their votes.
        shots: labelled images a class, each a measure; seeds: draws of them.
        recall_at: ranks of retrieval.
        targets: names of the numbers that regression predicts.
        seed: random seed of the linear probe's validation part and of k-means.
    """

    k: int = 20
    temperature: float = 0.07
    shots: Sequence[int] = (1, 5, 10)
    seeds: int = 10
    recall_at: Sequence[int] = (1, 5, 10)
    targets: Sequence[str] = ()
    seed: int = 0


Found = dict[str, Score | float]


def _knn(train: Labelled, test: Labelled, settings: MeasureConfig) -> Found:
    votes = knn_scores(*train, test[0], k=settings.k, temperature=settings.temperature)
    if train[1].ndim == 2:
        return {f"knn {name}": own for name, own in multilabel_results(votes, test[1]).items()}
    return {"knn": _share(votes.argmax(dim=1) == test[1])}


def _linear(train: Labelled, test: Labelled, settings: MeasureConfig) -> Found:
    logits, strength = linear_probe(train, test[0], seed=settings.seed)
    if train[1].ndim == 2:
        measures = multilabel_results(logits.sigmoid(), test[1])
        return {f"linear {name}": own for name, own in measures.items()} | {"linear l2": strength}
    return {"linear": _share(logits.argmax(dim=1) == test[1]), "linear l2": strength}


def _few_shot(train: Labelled, test: Labelled, settings: MeasureConfig) -> Found:
    (shots,) = settings.shots
    hits = few_shot_hits(train, test, shots=shots, seeds=settings.seeds)
    spread = float(hits.float().mean(dim=0).std(correction=0))
    return {f"{shots}-shot": Score("draws", hits.cpu().numpy()), f"{shots}-shot std": spread}


def _retrieval(train: Labelled, test: Labelled, settings: MeasureConfig) -> Found:
    hits, precisions = retrieval_results(train, test, ks=settings.recall_at)
    found: Found = {f"recall@{k}": _share(each) for k, each in hits.items()}
    found["mAP"] = Score("mean", precisions.cpu().numpy())
    return found | {"queries_without_match": float(len(test[0]) - len(precisions))}


def _clustering(train: Labelled, test: Labelled, settings: MeasureConfig) -> Found:
    clusters = clusters_of(*test, seed=settings.seed)
    return {"NMI": Score("NMI", torch.stack([test[1].cpu(), clusters], dim=1).numpy())}


def _regression(train: Labelled, test: Labelled, settings: MeasureConfig) -> Found:
    if not train[1].is_floating_point():
        raise ValueError("it needs numbers of the images: give --targets")
    predicted, strength = ridge_probe(train, test[0], seed=settings.seed)
    found: Found = {"ridge l2": strength}
    for k, name in enumerate(settings.targets):
        pair = torch.stack([predicted[:, k], test[1][:, k]], dim=1).cpu().numpy()  # (M, 2)
        if (pair[:, 1] == pair[0, 1]).all():
            raise ValueError(f"all test images have the same {name}: there is nothing to explain")
        found |= {f"R2 {name}": Score("R2", pair)}
        found |= {f"RMSE {name}": Score("root", (pair[:, 0] - pair[:, 1]) ** 2)}
    return found


def _share(hits: Tensor) -> Score:
    return Score("share", hits.cpu().numpy())


Measure = Callable[[Labelled, Labelled, MeasureConfig], Found]
TASKS: dict[str, Measure] = {
    "knn": _knn,
    "linear": _linear,
    "fewshot": _few_shot,
    "retrieval": _retrieval,
    "clustering": _clustering,
    "regression": _regression,
}
SINGLE_LABEL = ("fewshot", "clustering")


@dataclass(frozen=True)
class Evaluation:
    """What a backbone reached, and what could not be measured.

    Attributes:
        found: by name, scores in [0, 1] with the images that they are of, and numbers about them
            (``linear l2`` is the chosen regularisation, ``queries_without_match`` a count).
        left_out: reason by measure, in one line each.
        error: the first failure that nobody expects; its measure is in ``left_out``, too.
    """

    found: Found
    left_out: dict[str, str]
    error: Exception | None = None

    @property
    def scores(self) -> dict[str, float]:
        """The numbers alone."""
        return plain(self.found)


def plain(found: Found) -> dict[str, float]:
    """Numbers without the images that they are of."""
    return {k: own.value if isinstance(own, Score) else own for k, own in found.items()}


def evaluate(
    train: Labelled, test: Labelled, tasks: Sequence[str], settings: MeasureConfig = MeasureConfig()
) -> dict[str, float]:
    """Scores of `measure`; what is left out is logged.

    Raises:
        ValueError: as `measure`; or nothing could be measured.
        Exception: a measure failed in a way that nobody expects.
    """
    found = measure(train, test, tasks, settings)
    if found.error is not None:
        raise found.error
    for name, reason in found.left_out.items():
        logger.warning("%s left out: %s", name, reason)
    return found.scores


@torch.no_grad()
def measure(
    train: Labelled, test: Labelled, tasks: Sequence[str], settings: MeasureConfig = MeasureConfig()
) -> Evaluation:
    """Run measures on features; one that fails costs no other its score.

    Args:
        train: ``(N, D)`` features; ``(N,)`` int64 classes, ``(N, L)`` 0/1 labels, or ``(N, T)``
            float numbers.
        test: ``(M, D)``; ``(M,)``, ``(M, L)`` or ``(M, T)``.
        tasks: names of `TASKS`.

    Raises:
        ValueError: unknown task, one that needs a single label an image, images without a label,
            features that are not finite; or no task could be measured for want of data.
    """
    _check(train, test, tasks)
    found: Found = {}
    left_out: dict[str, str] = {}
    failure: Exception | None = None
    for name, task, own in _measures(tasks, settings):
        try:
            found |= TASKS[task](train, test, own)
        except (ImportError, ValueError) as error:
            left_out[name] = str(error)
        except Exception as error:
            left_out[name] = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            failure = failure or error
    if not found and failure is None and left_out:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise ValueError(f"nothing could be measured: {reasons}")
    return Evaluation(found, left_out, failure)


def _measures(
    tasks: Sequence[str], settings: MeasureConfig
) -> Iterator[tuple[str, str, MeasureConfig]]:
    """Names of measures, their tasks and settings; each number of shots is one of its own."""
    for task in tasks:
        if task == "fewshot":
            yield from ((f"{n}-shot", task, replace(settings, shots=(n,))) for n in settings.shots)
        else:
            yield task, task, settings


def _check(train: Labelled, test: Labelled, tasks: Sequence[str]) -> None:
    unknown = [task for task in tasks if task not in TASKS]
    if unknown:
        raise ValueError(f"unknown task {unknown[0]!r}: give {', '.join(TASKS)}")
    for features, labels in (train, test):
        if not torch.isfinite(features).all():
            raise ValueError("features are not finite; the backbone or its standardisation is off")
        wrong = [task for task in tasks if task in SINGLE_LABEL and labels.ndim == 2]
        if wrong:
            raise ValueError(f"{wrong[0]} needs one label an image; leave it out of the tasks")
        if not len(labels):
            raise ValueError("a part has no image: there is nothing to measure")
        missing = int((labels < 0).sum()) if labels.ndim == 1 else 0
        if missing:
            raise ValueError(f"{missing} of {len(labels)} images have no label: leave them out")
