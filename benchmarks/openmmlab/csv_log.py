"""Scalars of a run as CSV, which mmengine has no backend for."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.registry import VISBACKENDS
from mmengine.visualization.vis_backend import BaseVisBackend


@VISBACKENDS.register_module()
class CSVVisBackend(BaseVisBackend):
    """Append every logged number to ``scalars.csv``: step, name, value.

    One line a number, since training and validation log different names. A resumed run has a folder
    of its own, as with mmengine's other backends.

    Args:
        save_dir: folder, given by mmengine.
        filename: name of the file.
    """

    def __init__(self, save_dir: str, filename: str = "scalars.csv") -> None:
        super().__init__(save_dir)
        self.path = Path(save_dir) / filename

    @property
    def experiment(self) -> CSVVisBackend:
        """The backend itself: there is no session to open."""
        return self

    def _init_env(self) -> None:
        """Nothing to prepare: the file appears with its first number."""

    def add_scalar(
        self, name: str, value: int | float | torch.Tensor | np.ndarray, step: int = 0, **_: Any
    ) -> None:
        """Append one number."""
        self.add_scalars({name: value}, step)

    def add_scalars(
        self, scalar_dict: dict[str, Any], step: int = 0, file_path: str | None = None, **_: Any
    ) -> None:
        """Append numbers of one step; what is no number is left to other backends."""
        rows = [
            (scalar_dict.get("step", step), name, float(value))
            for name, value in scalar_dict.items()
            if name != "step" and isinstance(value, int | float | np.number | torch.Tensor)
        ]
        new = not self.path.is_file()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(("step", "name", "value"))
            writer.writerows(rows)
