"""All frozen-feature measures of one backbone on one data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cmid.evaluation.knn import knn_accuracy, knn_scores
from cmid.evaluation.linear import few_shot_accuracy, linear_probe
from cmid.evaluation.multilabel import multilabel_scores
from cmid.evaluation.retrieval import clustering_nmi, retrieval_scores

Labelled = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Settings:
    """Settings of the measures.

    Attributes:
        k: neighbours that vote; temperature: of their votes.
        shots: labelled images a class, each a measure; seeds: draws of them.
        recall_at: ranks of retrieval.
        seed: of the linear probe's validation part and of k-means.
    """

    k: int = 20
    temperature: float = 0.07
    shots: Sequence[int] = (1, 5, 10)
    seeds: int = 10
    recall_at: Sequence[int] = (1, 5, 10)
    seed: int = 0


def _knn(train: Labelled, test: Labelled, settings: Settings) -> dict[str, float]:
    options = {"k": settings.k, "temperature": settings.temperature}
    if train[1].ndim == 2:
        votes = knn_scores(*train, test[0], **options)  # type: ignore[arg-type]
        measures = multilabel_scores(votes, test[1])
        return {f"knn {name}": value for name, value in measures.items()}
    return {"knn": knn_accuracy(*train, *test, **options)}  # type: ignore[arg-type]


def _linear(train: Labelled, test: Labelled, settings: Settings) -> dict[str, float]:
    logits, strength = linear_probe(train, test[0], seed=settings.seed)
    if train[1].ndim == 2:
        measures = multilabel_scores(logits.sigmoid(), test[1])
        return {f"linear {name}": v for name, v in measures.items()} | {"linear l2": strength}
    accuracy = float((logits.argmax(dim=1) == test[1]).float().mean())
    return {"linear": accuracy, "linear l2": strength}


def _few_shot(train: Labelled, test: Labelled, settings: Settings) -> dict[str, float]:
    scores: dict[str, float] = {}
    for shots in settings.shots:
        mean, std = few_shot_accuracy(train, test, shots=shots, seeds=settings.seeds)
        scores |= {f"{shots}-shot": mean, f"{shots}-shot std": std}
    return scores


def _retrieval(train: Labelled, test: Labelled, settings: Settings) -> dict[str, float]:
    return retrieval_scores(train, test, ks=settings.recall_at)


def _clustering(train: Labelled, test: Labelled, settings: Settings) -> dict[str, float]:
    return {"NMI": clustering_nmi(*test, seed=settings.seed)}


TASKS: dict[str, Callable[[Labelled, Labelled, Settings], dict[str, float]]] = {
    "knn": _knn,
    "linear": _linear,
    "fewshot": _few_shot,
    "retrieval": _retrieval,
    "clustering": _clustering,
}
SINGLE_LABEL = ("fewshot", "clustering")


@torch.no_grad()
def evaluate(
    train: Labelled, test: Labelled, tasks: Sequence[str], settings: Settings = Settings()
) -> dict[str, float]:
    """Run measures on features.

    Args:
        train: ``(N, D)`` features; ``(N,)`` int64 classes, or ``(N, L)`` 0/1 labels.
        test: ``(M, D)``; ``(M,)`` or ``(M, L)``.
        tasks: names of `TASKS`.

    Returns:
        Scores in [0, 1] by name (``linear l2`` is the chosen regularisation,
        ``queries_without_match`` a count).

    Raises:
        ValueError: unknown task, one that needs a single label an image, features that are not
            finite.
    """
    unknown = [task for task in tasks if task not in TASKS]
    if unknown:
        raise ValueError(f"unknown task {unknown[0]!r}: give {', '.join(TASKS)}")
    for features, labels in (train, test):
        if not torch.isfinite(features).all():
            raise ValueError("features are not finite; the backbone or its standardisation is off")
        wrong = [task for task in tasks if task in SINGLE_LABEL and labels.ndim == 2]
        if wrong:
            raise ValueError(f"{wrong[0]} needs one label an image; leave it out of the tasks")
    scores: dict[str, float] = {}
    for task in tasks:
        scores |= TASKS[task](train, test, settings)
    return scores
