"""Classification by nearest neighbours in feature space."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.no_grad()
def knn_predict(
    bank: Tensor,
    bank_labels: Tensor,
    features: Tensor,
    *,
    k: int = 20,
    temperature: float = 0.07,
    chunk: int = 1024,
) -> Tensor:
    """Classes by votes of the ``k`` most similar images, weighted ``exp(cosine / temperature)``.

    The protocol of Wu et al. (arXiv:1805.01978). Exact: every similarity is computed, ``chunk``
    queries at a time.

    Args:
        bank: ``(N, D)`` features of labelled images, of any length.
        bank_labels: ``(N,)`` int64, 0 and up.
        features: ``(M, D)``.

    Returns:
        ``(M,)`` int64.

    Raises:
        ValueError: an empty bank.
    """
    if len(bank) == 0:
        raise ValueError("kNN needs at least one labelled image in its bank")
    bank = F.normalize(bank.float(), dim=1)
    classes = int(bank_labels.max()) + 1
    predictions = []
    for part in F.normalize(features.float(), dim=1).split(chunk):
        similarity, index = (part @ bank.T).topk(min(k, len(bank)), dim=1)  # (chunk, k)
        # Subtracting the best similarity changes no vote's share and keeps exp from overflowing.
        weight = ((similarity - similarity[:, :1]) / temperature).exp()
        votes = weight.new_zeros(len(part), classes)
        votes.scatter_add_(1, bank_labels[index], weight)
        predictions.append(votes.argmax(dim=1))
    return torch.cat(predictions) if predictions else bank_labels.new_empty(0)


def knn_accuracy(
    bank: Tensor,
    bank_labels: Tensor,
    features: Tensor,
    labels: Tensor,
    *,
    k: int = 20,
    temperature: float = 0.07,
) -> float:
    """Share in [0, 1] of the ``(M, D)`` features that `knn_predict` puts in the right class."""
    predicted = knn_predict(bank, bank_labels, features, k=k, temperature=temperature)
    return float((predicted == labels).float().mean())
