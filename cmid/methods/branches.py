"""Student and teacher of CMID, and the kinds of agreement between whole images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cmid.losses import (
    KeyQueue,
    cosine_loss,
    info_nce_in_batch,
    info_nce_with_queue,
    nt_xent,
)
from cmid.models import LocalHead, MaskedEncoder, Predictor, Projector
from cmid.processes import gather_rows, gather_rows_with_gradient, rows_of_this_process


class Branch(nn.Module):
    """What student and teacher have in common: encoder, global projector, local head."""

    def __init__(self, encoder: MaskedEncoder, projector: nn.Module, local_head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector
        self.local_head = local_head

    def embed(self, dense: Tensor) -> Tensor:
        """Project the pooled dense features ``(B, D, N, N)`` to ``(B, 256)``, norm 1."""
        return self.projector(self.encoder.pool(dense))


class MoCoAgreement(nn.Module):
    """InfoNCE of each view against the other, with a queue of past keys as negatives."""

    def __init__(self, *, dim: int, queue_size: int, temperature: float) -> None:
        super().__init__()
        self.queue = KeyQueue(queue_size, dim)
        self.temperature = temperature

    def forward(self, queries: tuple[Tensor, Tensor], keys: tuple[Tensor, Tensor]) -> Tensor:
        """Loss of ``(B, 256)`` student queries and teacher keys, one pair of each per view."""
        # Both directions in one product with the queue: their mean is that of the whole batch.
        loss = info_nce_with_queue(
            torch.cat(queries), torch.cat(keys[::-1]), self.queue.keys, self.temperature
        )
        if self.training:
            self.queue.push(torch.cat(keys))
        return loss


class BatchAgreement(nn.Module):
    """InfoNCE of each view against the other, with the batch's other keys as negatives.

    Keys of all processes are negatives. Needs no past: early in training, when keys of a few steps
    ago are already stale, it learns faster than a queue (MoCo v3, arXiv:2104.02057).
    """

    def __init__(self, *, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, queries: tuple[Tensor, Tensor], keys: tuple[Tensor, Tensor]) -> Tensor:
        """Loss of ``(B, 256)`` student queries and teacher keys, one pair of each per view."""
        positives = rows_of_this_process(queries[0])
        first, second = (
            info_nce_in_batch(query, gather_rows(key), positives, self.temperature)
            for query, key in zip(queries, reversed(keys), strict=True)
        )
        return (first + second) / 2


class StudentAgreement(nn.Module):
    """NT-Xent of the student's own two views; the teacher has no part in it (SimCLR).

    Embeddings of all processes are negatives, and the gradient flows through them all.
    """

    def __init__(self, *, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, queries: tuple[Tensor, Tensor], keys: None = None) -> Tensor:
        """Loss of ``(B, 256)`` student embeddings, one of each view."""
        first, second = (gather_rows_with_gradient(query) for query in queries)
        return nt_xent(first, second, self.temperature)


class BYOLAgreement(nn.Module):
    """Prediction of the teacher's embedding of the other view, without negatives."""

    def __init__(self, *, dim: int, hidden: int = 512) -> None:
        super().__init__()
        self.predictor = Predictor(dim, hidden=hidden)

    def forward(self, queries: tuple[Tensor, Tensor], keys: tuple[Tensor, Tensor]) -> Tensor:
        """Loss of ``(B, 256)`` student and teacher embeddings, one pair of each per view."""
        predictions = self.predictor(torch.cat(queries)).chunk(2)
        first, second = (
            cosine_loss(prediction, key)
            for prediction, key in zip(predictions, reversed(keys), strict=True)
        )
        return (first + second) / 2


def build_agreement(kind: str, *, queue_size: int, temperature: float, dim: int = 256) -> nn.Module:
    """The global branch's loss: ``moco`` (with a queue, or without one of size 0), ``simclr`` or
    ``byol``.
    """
    if kind == "byol":
        return BYOLAgreement(dim=dim)
    if kind == "simclr":
        return StudentAgreement(temperature=temperature)
    if queue_size == 0:
        return BatchAgreement(temperature=temperature)
    return MoCoAgreement(dim=dim, queue_size=queue_size, temperature=temperature)


def build_branch(
    encoder: MaskedEncoder,
    *,
    agreement: str,
    prototypes: int,
    norm: bool,
    width: int = 2048,
    projector_norm: bool = False,
) -> Branch:
    """Heads around an encoder.

    Args:
        agreement: ``moco`` and ``simclr`` (projector without norm) or ``byol`` (with BatchNorm,
            hidden width 512 at most).
        projector_norm: BatchNorm after both layers of the projector, as in MoCo v3.
        prototypes: outputs of the local head.
        width: hidden width of projector and local head; 2048 is published.
        norm: BatchNorm in the local head; published for ResNet, not for transformers.
    """
    byol = agreement == "byol"
    return Branch(
        encoder,
        Projector(
            encoder.pooled_dim,
            hidden=min(512, width) if byol else width,
            out=256,
            norm=byol or projector_norm,
            norm_output=projector_norm,
        ),
        LocalHead(encoder.embed_dim, hidden=width, num_prototypes=prototypes, norm=norm),
    )
