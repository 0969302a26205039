"""Numbers that images have (cover, yield, height), from frozen features by a ridge regression."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import torch
from torch import Tensor

from cmid.evaluation.linear import LinearClassifier, held_out_part
from cmid.evaluation.multilabel import rows_of_images

STRENGTHS = tuple(10.0**exponent for exponent in range(-6, 4))


def fit_ridge(features: Tensor, targets: Tensor, *, l2: float) -> LinearClassifier:
    r"""The linear map with the least
    :math:`\frac{1}{N} \sum_i \lVert y_i - W x_i - b \rVert^2 + \lambda \lVert W \rVert^2`.

    scikit-learn's ``Ridge(alpha)`` has the same minimum at :math:`\lambda` = alpha / N.

    Args:
        features: ``(N, D)``.
        targets: ``(N, T)``.
    """
    x, y = features.double(), targets.double()
    x_mean, y_mean = x.mean(dim=0), y.mean(dim=0)
    x, y = x - x_mean, y - y_mean
    count, width = x.shape
    ridge = count * l2 * torch.eye(min(count, width), dtype=x.dtype, device=x.device)
    if width <= count:
        weight = torch.linalg.solve(x.T @ x + ridge, x.T @ y)
    else:  # the same, by as many equations as there are images
        weight = x.T @ torch.linalg.solve(x @ x.T + ridge, y)
    return LinearClassifier(weight.T, y_mean - x_mean @ weight)


@torch.no_grad()
def ridge_probe(
    train: tuple[Tensor, Tensor],
    test: Tensor,
    *,
    strengths: Sequence[float] = STRENGTHS,
    validation: float = 0.2,
    seed: int = 0,
) -> tuple[Tensor, float]:
    """Predictions of a ridge regression on frozen features.

    Features are standardised by the training set. Each regularisation is fitted on a part of the
    training set and scored on the rest (squared error over the variance, mean over targets); the
    best is fitted again on all of it.

    Args:
        train: ``(N, D)`` features and ``(N, T)`` numbers.
        test: ``(M, D)`` features.
        validation: share of the training set that chooses the regularisation.

    Returns:
        ``(M, T)`` float64 predictions and the chosen strength.

    Raises:
        ValueError: fewer than two images, or a number that is the same for all.
    """
    features, targets = train
    if len(features) < 2 or bool((targets.std(dim=0) == 0).any()):
        raise ValueError("all training images have the same number: there is nothing to predict")
    mean, std = features.mean(dim=0), features.std(dim=0, correction=0).clamp_min(1e-6)
    features, test = (features - mean) / std, (test - mean) / std
    held_out = held_out_part(targets, validation, seed=seed)
    best, least = strengths[0], math.inf
    for l2 in strengths:
        fitted = fit_ridge(features[~held_out], targets[~held_out], l2=l2)
        errors = fitted(features[held_out]) - targets[held_out]
        error = float((errors.square().mean(dim=0) / targets.var(dim=0)).mean())
        if error < least:
            best, least = l2, error
    return fit_ridge(features, targets, l2=best)(test), best


def read_targets(
    path: str | os.PathLike[str], names: Sequence[str]
) -> tuple[Tensor, tuple[str, ...]]:
    """Numbers of images from a CSV file with a header.

    The first column (or one called name, image, file, filename or path) names the image, with or
    without folder and ending; each of the others holds a number.

    Args:
        path: the CSV file.
        names: paths or names of images; numbers come in their order.

    Returns:
        ``(N, T)`` float64 and the names of the T columns.

    Raises:
        FileNotFoundError: no such file.
        ValueError: images without a row, two rows for one image, or what is no finite number.
    """
    columns, rows = rows_of_images(path, names)
    numbers = []
    for name, row in zip(names, rows, strict=True):
        try:
            numbers.append([float(value) for value in row])
            if not all(map(math.isfinite, numbers[-1])):
                raise ValueError
        except ValueError:
            raise ValueError(f"{path}: {name} has {row}, where numbers are expected") from None
    return torch.tensor(numbers, dtype=torch.float64), columns
