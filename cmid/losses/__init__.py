"""Losses of CMID: pure functions and small modules of tensors."""

from cmid.losses.contrastive import KeyQueue as KeyQueue
from cmid.losses.contrastive import cosine_loss as cosine_loss
from cmid.losses.contrastive import info_nce_in_batch as info_nce_in_batch
from cmid.losses.contrastive import info_nce_with_queue as info_nce_with_queue
from cmid.losses.contrastive import nt_xent as nt_xent
from cmid.losses.distillation import LocalDistillationLoss as LocalDistillationLoss
from cmid.losses.distillation import teacher_temperature as teacher_temperature
from cmid.losses.reconstruction import MaskedReconstructionLoss as MaskedReconstructionLoss
from cmid.losses.reconstruction import focal_frequency_loss as focal_frequency_loss
from cmid.losses.reconstruction import focal_l1_loss as focal_l1_loss
