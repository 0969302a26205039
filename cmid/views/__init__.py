"""Two augmented views, the geometry that links them, and block masks."""

from importlib import import_module
from typing import Any

_HOMES = {
    "ColourAugmentation": "colour",
    "ColourConfig": "config",
    "CropConfig": "config",
    "DeviceViews": "batch",
    "Standardize": "colour",
    "TwoViews": "crops",
    "ViewColourConfig": "config",
    "Views": "batch",
    "block_mask": "masks",
    "cell_centres": "geometry",
    "expand_mask": "masks",
    "fill_masked": "masks",
    "gather_cells": "geometry",
    "match_positions": "geometry",
    "num_masked_blocks": "masks",
    "strong_colour": "config",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
