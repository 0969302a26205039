"""Figures reach the disk whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from matplotlib.figure import Figure

from cmid.files import whole_file


def save_figure(figure: Figure, path: str | os.PathLike[str], *, dpi: int = 120) -> Path:
    """Write a figure as PNG under a temporary name, then rename it."""
    path = Path(path)
    with whole_file(path) as partial:
        figure.savefig(partial, format="png", dpi=dpi, bbox_inches="tight")
    return path
