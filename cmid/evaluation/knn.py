"""Classification by nearest neighbours in feature space."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.no_grad()
def knn_scores(
    bank: Tensor,
    bank_labels: Tensor,
    features: Tensor,
    *,
    k: int = 20,
    temperature: float = 0.07,
    chunk: int = 1024,
) -> Tensor:
    """Share of votes of the ``k`` most similar images, weighted ``exp(cosine / temperature)``.

    The protocol of Wu et al. (arXiv:1805.01978). Exact: every similarity is computed, ``chunk``
    queries against ``128 * chunk`` images of the bank at a time, so that a bank of millions fits.

    Args:
        bank: ``(N, D)`` features of labelled images, of any length.
        bank_labels: ``(N,)`` int64, 0 and up, or ``(N, L)`` 0/1 with several labels an image.
        features: ``(M, D)``.

    Returns:
        ``(M, K)`` float32 in [0, 1]: of classes, that sum to 1, or of labels.

    Raises:
        ValueError: an empty bank, or images without a label in it.
    """
    if len(bank) == 0:
        raise ValueError("kNN needs at least one labelled image in its bank")
    if bank_labels.ndim == 1 and int(bank_labels.min()) < 0:
        raise ValueError("kNN needs labels, but the bank has images without one")
    targets = (F.one_hot(bank_labels) if bank_labels.ndim == 1 else bank_labels).float()
    bank = F.normalize(bank.float(), dim=1)
    scores = []
    for part in F.normalize(features.float(), dim=1).split(chunk):
        similarity, index = _nearest(part, bank, min(k, len(bank)), step=128 * chunk)
        weight = (similarity / temperature).softmax(dim=1)  # (chunk, k)
        scores.append(torch.einsum("qk,qkc->qc", weight, targets[index]))
    return torch.cat(scores) if scores else targets.new_empty(0, targets.shape[1])


def _nearest(queries: Tensor, bank: Tensor, k: int, *, step: int) -> tuple[Tensor, Tensor]:
    """Similarities and indices ``(M, k)`` of the nearest rows of ``bank``, best first."""
    best = queries.new_empty(len(queries), 0)
    index = torch.empty(len(queries), 0, dtype=torch.long, device=queries.device)
    for start in range(0, len(bank), step):
        similarity, place = (queries @ bank[start : start + step].T).topk(
            min(k, len(bank) - start, step), dim=1
        )
        best, order = torch.cat([best, similarity], dim=1).topk(
            min(k, best.shape[1] + similarity.shape[1]), dim=1
        )
        index = torch.cat([index, place + start], dim=1).gather(1, order)
    return best, index


def knn_accuracy(
    bank: Tensor,
    bank_labels: Tensor,
    features: Tensor,
    labels: Tensor,
    *,
    k: int = 20,
    temperature: float = 0.07,
) -> float:
    """Share in [0, 1] of the ``(M, D)`` features whose class has the most votes of `knn_scores`."""
    scores = knn_scores(bank, bank_labels, features, k=k, temperature=temperature)
    return float((scores.argmax(dim=1) == labels).float().mean())
