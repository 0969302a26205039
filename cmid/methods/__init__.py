"""Pretraining methods, each a LightningModule that reads like its paper's algorithm."""

from typing import Any

__all__ = ["CMID"]


def __getattr__(name: str) -> Any:
    if name == "CMID":
        from cmid.methods.cmid import CMID

        return CMID
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
