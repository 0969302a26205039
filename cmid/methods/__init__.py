"""Pretraining methods, each a LightningModule that reads like its paper's algorithm."""

from cmid.methods.base import PretrainMethod
from cmid.methods.cmid import CMID

__all__ = ["CMID", "PretrainMethod"]
