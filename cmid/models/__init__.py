"""Models of CMID: the masked encoder on timm, the heads, the EMA teacher."""

from cmid.models.encoder import MaskedEncoder
from cmid.models.heads import LocalHead, Predictor, Projector, ReconstructionHead
from cmid.models.teacher import EMATeacher, ema_momentum

__all__ = [
    "EMATeacher",
    "LocalHead",
    "MaskedEncoder",
    "Predictor",
    "Projector",
    "ReconstructionHead",
    "ema_momentum",
]
