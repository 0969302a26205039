"""Export of pretrained encoders to formats that other libraries load."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cmid.export.loading import Backbone, load_backbone
    from cmid.export.onnx import to_onnx, to_torchvision
    from cmid.export.openmmlab import NativeBackbone, to_openmmlab
    from cmid.export.published import read_published
    from cmid.export.timm_folder import load_encoder, to_timm

# timm takes seconds to import, and formats need different extras.
_MODULE_OF = {
    "Backbone": "cmid.export.loading",
    "NativeBackbone": "cmid.export.openmmlab",
    "load_backbone": "cmid.export.loading",
    "load_encoder": "cmid.export.timm_folder",
    "read_published": "cmid.export.published",
    "to_onnx": "cmid.export.onnx",
    "to_openmmlab": "cmid.export.openmmlab",
    "to_timm": "cmid.export.timm_folder",
    "to_torchvision": "cmid.export.onnx",
}

__all__ = [
    "Backbone",
    "NativeBackbone",
    "load_backbone",
    "load_encoder",
    "read_published",
    "to_onnx",
    "to_openmmlab",
    "to_timm",
    "to_torchvision",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
