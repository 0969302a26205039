"""Models of CMID: the masked encoder on timm, the heads, the EMA teacher."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cmid.models.encoder import MaskedEncoder
    from cmid.models.heads import LocalHead, Predictor, Projector, ReconstructionHead
    from cmid.models.teacher import EMATeacher, ema_momentum

# timm takes seconds to import; heads and teacher do not need it.
_MODULE_OF = {
    "EMATeacher": "cmid.models.teacher",
    "LocalHead": "cmid.models.heads",
    "MaskedEncoder": "cmid.models.encoder",
    "Predictor": "cmid.models.heads",
    "Projector": "cmid.models.heads",
    "ReconstructionHead": "cmid.models.heads",
    "ema_momentum": "cmid.models.teacher",
}

__all__ = [
    "EMATeacher",
    "LocalHead",
    "MaskedEncoder",
    "Predictor",
    "Projector",
    "ReconstructionHead",
    "ema_momentum",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
