"""Rotated boxes that reach over the border of their image, drawn."""

from __future__ import annotations

from typing import Any

from mmengine.registry import VISUALIZERS
from mmrotate.visualization import RotLocalVisualizer
from numpy.typing import NDArray


@VISUALIZERS.register_module()
class OrientedVisualizer(RotLocalVisualizer):
    """mmrotate's visualizer, whose pictures do not shrink to make room for what lies outside."""

    def set_image(self, image: NDArray[Any]) -> None:
        """Show an image, and stay with its limits."""
        super().set_image(image)
        self.ax_save.set_autoscale_on(False)
