"""Weights are opened, identified and loaded here: exports, checkpoints of runs, published files.

`identify` tells what a folder, file or name holds without reading its weights; `load_backbone`
loads it for evaluation, `load_encoder` and `read_published` for anything else. Nothing is loaded
by halves, and nothing in a file is run.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cmid.checkpoints.backbones import Backbone, identify, identify_file, load_backbone
    from cmid.checkpoints.exports import load_encoder
    from cmid.checkpoints.published import read_published
    from cmid.checkpoints.stored import StoredEncoder
    from cmid.checkpoints.weight_files import open_weights

# timm takes seconds to import.
_MODULE_OF = {
    "Backbone": "cmid.checkpoints.backbones",
    "StoredEncoder": "cmid.checkpoints.stored",
    "identify": "cmid.checkpoints.backbones",
    "identify_file": "cmid.checkpoints.backbones",
    "load_backbone": "cmid.checkpoints.backbones",
    "load_encoder": "cmid.checkpoints.exports",
    "open_weights": "cmid.checkpoints.weight_files",
    "read_published": "cmid.checkpoints.published",
}

__all__ = [
    "Backbone",
    "StoredEncoder",
    "identify",
    "identify_file",
    "load_backbone",
    "load_encoder",
    "open_weights",
    "read_published",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
