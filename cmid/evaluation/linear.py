"""Linear classifiers on frozen features: the linear probe and few-shot classification."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cmid.evaluation.multilabel import mean_average_precision

STRENGTHS = tuple(10.0**exponent for exponent in range(-6, 2))


@dataclass(frozen=True)
class LinearClassifier:
    """``logits = features @ weight.T + bias``; weight ``(K, D)``, bias ``(K,)``."""

    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        return F.linear(features.to(self.weight), self.weight, self.bias)


def fit_linear(
    features: Tensor,
    targets: Tensor,
    *,
    l2: float,
    multilabel: bool = False,
    start: LinearClassifier | None = None,
    max_iter: int = 300,
) -> LinearClassifier:
    r"""Logistic regression by full-batch L-BFGS.

    Minimises :math:`\frac{1}{N} \sum_i \ell_i + \frac{\lambda}{2} \lVert W \rVert^2` with
    :math:`\lambda` = ``l2``; scikit-learn's ``LogisticRegression(C)`` has the same minimum at
    :math:`\lambda = 1 / (C N)`. The bias is not regularised.

    Args:
        features: ``(N, D)``; float64 is kept, everything else becomes float32.
        targets: ``(N, K)`` float, shares of classes that sum to 1 (cross-entropy), or with
            ``multilabel`` 0/1 per label (binary cross-entropy, summed over labels).
        start: initial weights, for sweeps; zeros otherwise.
        max_iter: iterations at most; a line search chooses each step.
    """
    features = features if features.dtype == torch.float64 else features.float()
    targets = targets.to(features)
    if start is None:
        weight = features.new_zeros(targets.shape[1], features.shape[1])
        bias = features.new_zeros(targets.shape[1])
    else:
        weight, bias = start.weight.clone(), start.bias.clone()
    parameters = [weight.requires_grad_(), bias.requires_grad_()]
    # A loss that changes by less tells nothing of its gradient; that of float32 is noise by then.
    tolerance, change = (1e-9, 1e-18) if features.dtype == torch.float64 else (1e-6, 1e-9)
    optimizer = torch.optim.LBFGS(
        parameters,
        max_iter=max_iter,
        tolerance_grad=tolerance,
        tolerance_change=change,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = F.linear(features, weight, bias)
        if multilabel:
            loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
            loss = loss / len(targets)
        else:
            loss = F.cross_entropy(logits, targets)
        loss = loss + 0.5 * l2 * weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return LinearClassifier(weight.detach(), bias.detach())


@torch.no_grad()
def linear_probe(
    train: tuple[Tensor, Tensor],
    test: Tensor,
    *,
    strengths: Sequence[float] = STRENGTHS,
    validation: float = 0.2,
    seed: int = 0,
) -> tuple[Tensor, float]:
    """Scores of the best linear classifier on frozen features.

    Features are standardised by the training set. Each regularisation of ``strengths`` is fitted
    on a part of the training set and scored on the rest (accuracy, or mean average precision for
    several labels an image); the best is fitted again on all of it.

    Args:
        train: ``(N, D)`` features and ``(N,)`` int64 classes or ``(N, L)`` 0/1 labels.
        test: ``(M, D)`` features.
        validation: share of the training set that chooses the regularisation, of every class.

    Returns:
        ``(M, K)`` logits and the chosen strength.

    Raises:
        ValueError: fewer than two classes, or than two images.
    """
    features, labels = train
    if len(features) < 2:
        raise ValueError(f"a linear probe needs at least two labelled images, got {len(features)}")
    multilabel = labels.ndim == 2
    targets = labels.float() if multilabel else one_hot(labels)
    mean, std = features.mean(dim=0), features.std(dim=0, correction=0).clamp_min(1e-6)
    features, test = (features - mean) / std, (test - mean) / std
    held_out = held_out_part(labels, validation, seed=seed)
    best, best_score, classifier = strengths[0], -math.inf, None
    for l2 in sorted(strengths, reverse=True):  # from smooth to sharp, each starts at the last
        classifier = fit_linear(
            features[~held_out], targets[~held_out], l2=l2, multilabel=multilabel, start=classifier
        )
        logits = classifier(features[held_out])
        if multilabel and not labels[held_out].any():  # nothing to rank
            score = -float(F.binary_cross_entropy_with_logits(logits, targets[held_out]))
        elif multilabel:
            score = mean_average_precision(logits, labels[held_out])
        else:
            score = float((logits.argmax(dim=1) == labels[held_out]).float().mean())
        if score > best_score:
            best, best_score = l2, score
    return fit_linear(features, targets, l2=best, multilabel=multilabel)(test), best


@torch.no_grad()
def few_shot_accuracy(
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    shots: int,
    seeds: int = 10,
) -> tuple[float, float]:
    """Mean and standard deviation over draws of the accuracy of `few_shot_hits`."""
    each = few_shot_hits(train, test, shots=shots, seeds=seeds).float().mean(dim=0)
    return float(each.mean()), float(each.std(correction=0))


@torch.no_grad()
def few_shot_hits(
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    shots: int,
    seeds: int = 10,
) -> Tensor:
    """Which test images are classified rightly with ``shots`` labelled images a class.

    Logistic regression with C = 1 on L2-normalised features (RFS, arXiv:2003.11539). Draw ``s`` of
    any backbone uses the same images, so that backbones compare.

    Args:
        train: ``(N, D)`` features and ``(N,)`` classes to draw from.
        test: ``(M, D)`` and ``(M,)``.

    Returns:
        ``(M, S)`` bool, a column a draw.

    Raises:
        ValueError: a class with fewer images than ``shots``.
    """
    features, labels = F.normalize(train[0].float(), dim=1), train[1]
    queries = F.normalize(test[0].float(), dim=1)
    counts = torch.bincount(labels)
    fewest = int(counts[counts > 0].min())
    if fewest < shots:
        raise ValueError(f"{shots} shots need {shots} images of every class, one has {fewest}")
    hits = []
    for seed in range(seeds):
        drawn = draw_of_each_class(labels, shots, seed=seed)
        classifier = fit_linear(
            features[drawn], one_hot(labels[drawn], len(counts)), l2=1 / len(drawn)
        )
        hits.append(classifier(queries).argmax(dim=1) == test[1])
    return torch.stack(hits, dim=1)


def fewest_of_a_class(labels: Tensor) -> int:
    """How many images the rarest class among ``(N,)`` labels has, 0 without labels."""
    return int(labels.unique(return_counts=True)[1].min()) if len(labels) else 0


def draw_of_each_class(labels: Tensor, count: int, *, seed: int) -> Tensor:
    """Indices of ``count`` images of each class; fewer, where a class has no more."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    order = order.to(labels.device)
    return torch.cat([order[labels[order] == c][:count] for c in labels.unique()])


def one_hot(labels: Tensor, classes: int | None = None) -> Tensor:
    """``(N,)`` classes as ``(N, K)`` float.

    Raises:
        ValueError: only one class.
    """
    if len(labels.unique()) < 2:
        raise ValueError("all images are of one class: nothing to tell apart")
    return F.one_hot(labels, classes or int(labels.max()) + 1).float()


def held_out_part(labels: Tensor, share: float, *, seed: int) -> Tensor:
    """``(N,)`` mask of a validation part; every class of two or more images gives its share."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    groups = (
        [order]
        if labels.ndim == 2
        else [order[labels.cpu()[order] == c] for c in labels.unique().cpu()]
    )
    for group in groups:
        held_out[group[: min(max(1, round(share * len(group))), len(group) - 1)]] = True
    if not held_out.any() or held_out.all():  # one image a class
        held_out[order[0]] = True
    return held_out.to(labels.device)
