"""Losses of CMID: pure functions and small modules of tensors."""

from cmid.losses.contrastive import KeyQueue, cosine_loss, info_nce_in_batch, info_nce_with_queue
from cmid.losses.distillation import LocalDistillationLoss, teacher_temperature
from cmid.losses.reconstruction import (
    MaskedReconstructionLoss,
    focal_frequency_loss,
    focal_l1_loss,
)

__all__ = [
    "KeyQueue",
    "LocalDistillationLoss",
    "MaskedReconstructionLoss",
    "cosine_loss",
    "focal_frequency_loss",
    "focal_l1_loss",
    "info_nce_in_batch",
    "info_nce_with_queue",
    "teacher_temperature",
]
