"""Export of pretrained encoders to formats that other libraries load."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cmid.export.onnx import to_onnx, to_torchvision
    from cmid.export.openmmlab import NativeBackbone, to_openmmlab
    from cmid.export.timm_folder import to_timm

# timm takes seconds to import, and formats need different extras.
_MODULE_OF = {
    "NativeBackbone": "cmid.export.openmmlab",
    "to_onnx": "cmid.export.onnx",
    "to_openmmlab": "cmid.export.openmmlab",
    "to_timm": "cmid.export.timm_folder",
    "to_torchvision": "cmid.export.onnx",
}

__all__ = ["NativeBackbone", "to_onnx", "to_openmmlab", "to_timm", "to_torchvision"]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
