"""Agreement of whole images: InfoNCE (MoCo, SimCLR) and the cosine loss of BYOL."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cmid.precision import full_precision
from cmid.processes import gather_rows


def info_nce_with_queue(
    query: Tensor, key: Tensor, queue: Tensor, temperature: float = 0.2
) -> Tensor:
    r"""InfoNCE with one positive and the queue's keys as negatives (MoCo, arXiv:1911.05722).

    .. math:: L = -\log \frac{e^{q \cdot k / T}}{e^{q \cdot k / T} + \sum_j e^{q \cdot n_j / T}}

    Args:
        query: ``(B, D)``, L2-normalised, from the student.
        key: ``(B, D)``, L2-normalised, from the teacher; carries no gradient.
        queue: ``(D, K)`` L2-normalised columns.
        temperature: ``T``.

    The gradient is computed with the loss, so that nothing of the queue is kept for the backward
    pass: it may be written to at once.

    Returns:
        Mean over the batch, float32.
    """
    with full_precision(query):
        query = query.float()
        with torch.no_grad():
            key, queue = key.float(), queue.float()
            positive = (query * key).sum(dim=1, keepdim=True)  # (B, 1)
            logits = torch.cat([positive, query @ queue], dim=1) / temperature  # (B, 1 + K)
            loss = F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))
            share = logits.softmax(dim=1)
            slope = (share[:, :1] - 1) * key + share[:, 1:] @ queue.T  # (B, D)
            slope = slope / (temperature * len(query))
        # Of value 0 and gradient `slope`.
        return loss + (slope * (query - query.detach())).sum()


def info_nce_in_batch(
    query: Tensor, keys: Tensor, positives: Tensor, temperature: float = 0.2
) -> Tensor:
    r"""InfoNCE with the other keys of the batch as negatives (MoCo v3, arXiv:2104.02057).

    .. math:: L = -\log \frac{e^{q \cdot k_p / T}}{\sum_j e^{q \cdot k_j / T}}

    Args:
        query: ``(B, D)``, L2-normalised, from the student.
        keys: ``(K, D)``, L2-normalised, from the teacher; they carry no gradient.
        positives: ``(B,)`` int64, the row of ``keys`` that belongs to each query.
        temperature: ``T``.

    Returns:
        Mean over the batch, float32.
    """
    with full_precision(query):
        logits = query.float() @ keys.detach().float().T / temperature  # (B, K)
        return F.cross_entropy(logits, positives)


def nt_xent(first: Tensor, second: Tensor, temperature: float = 0.1) -> Tensor:
    r"""Normalised temperature-scaled cross-entropy (SimCLR, arXiv:2002.05709, equation 1).

    Each of the :math:`2B` embeddings is to be told from all others by its similarity to the other
    view of its image; the gradient flows through both.

    .. math:: L = -\frac{1}{2B} \sum_i
        \log \frac{e^{z_i \cdot z_{p(i)} / T}}{\sum_{j \ne i} e^{z_i \cdot z_j / T}}

    Args:
        first: ``(B, D)``, L2-normalised, of the first views.
        second: ``(B, D)``, L2-normalised, of the second views of the same images.
        temperature: ``T``.

    Returns:
        Mean over the batch, float32.
    """
    with full_precision(first):
        embeddings = torch.cat([first, second]).float()
        logits = embeddings @ embeddings.T / temperature  # (2B, 2B)
        itself = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        positives = torch.arange(len(logits), device=logits.device).roll(len(first))
        return F.cross_entropy(logits.masked_fill(itself, float("-inf")), positives)


def cosine_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean of ``2 - 2 cos`` of ``(B, D)`` vectors; the target carries no gradient.

    Source: BYOL (arXiv:2006.07733), equation 2.
    """
    with full_precision(prediction):
        cosine = F.cosine_similarity(prediction.float(), target.detach().float(), dim=1)
        return (2 - 2 * cosine).mean()


class KeyQueue(nn.Module):
    """First-in first-out store of the teacher's last ``size`` keys.

    Any batch size fits: entries wrap around, and of a batch larger than the queue the last keys
    stay. The keys of all processes enter in rank order, so that every process holds the same queue.

    Args:
        size: number of keys. It should stay far below the number of training images, or the
            queue holds other views of the query's own image as negatives.
        dim: length of a key.

    Attributes:
        keys: ``(dim, size)``, columns of norm 1; random at first.
        position: index at which the next key goes.
    """

    keys: Tensor
    position: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        if size < 1 or dim < 1:
            raise ValueError(f"queue of {size} keys of length {dim}: both must be at least 1")
        self.register_buffer("keys", F.normalize(torch.randn(dim, size), dim=0))
        self.register_buffer("position", torch.zeros((), dtype=torch.long))

    @property
    def size(self) -> int:
        return self.keys.shape[1]

    @torch.no_grad()
    def push(self, keys: Tensor) -> None:
        """Store the normalised ``(B, dim)`` keys of all processes."""
        keys = gather_rows(keys.float())
        total = len(keys)
        kept = keys[-self.size :]
        offset = torch.arange(total - len(kept), total, device=keys.device)
        self.keys[:, (self.position + offset) % self.size] = kept.T.to(self.keys.dtype)
        self.position.copy_((self.position + total) % self.size)
