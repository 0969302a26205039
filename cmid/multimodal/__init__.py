"""Multimodal language models: LHRS-Bot, LHRS-Bot-Nova, and small ones of the same build."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cmid.multimodal.building import MultimodalConfig, build_model
    from cmid.multimodal.conversation import Conversation, Turn
    from cmid.multimodal.folder import load, save_model
    from cmid.multimodal.model import MultimodalModel

# timm takes seconds to import.
_MODULE_OF = {
    "Conversation": "cmid.multimodal.conversation",
    "MultimodalConfig": "cmid.multimodal.building",
    "MultimodalModel": "cmid.multimodal.model",
    "Turn": "cmid.multimodal.conversation",
    "build_model": "cmid.multimodal.building",
    "load": "cmid.multimodal.folder",
    "save_model": "cmid.multimodal.folder",
}

__all__ = [
    "Conversation",
    "MultimodalConfig",
    "MultimodalModel",
    "Turn",
    "build_model",
    "load",
    "save_model",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
