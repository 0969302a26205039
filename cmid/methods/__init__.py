"""Pretraining methods, each a LightningModule that reads like its paper's algorithm."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULE_OF = {"CMID": "cmid.methods.cmid", "PretrainMethod": "cmid.methods.base"}

__all__ = ["CMID", "PretrainMethod"]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
