"""Other self-supervised methods, trained by the command that trains CMID.

    python tools/pretrain.py --model.class_path benchmarks.baselines.SimCLR

SimCLR, MoCo-v2, BYOL and DINO have the losses and heads of ``lightly`` (extra ``baselines``);
SimMIM and LeJEPA need no more than the core. Every method sees the two views of CMID.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULE_OF = {
    "BYOL": "self_distillation",
    "DINO": "self_distillation",
    "LeJEPA": "lejepa",
    "MoCoV2": "contrastive",
    "SimCLR": "contrastive",
    "SimMIM": "simmim",
}

__all__ = ["BYOL", "DINO", "LeJEPA", "MoCoV2", "SimCLR", "SimMIM"]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
