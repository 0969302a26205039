"""What the student saw, and what it made of it."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor


def displayable(images: Tensor) -> np.ndarray:
    """``(B, C, H, W)`` in [0, 1] as ``(B, H, W, 3)``: the first three bands, or one thrice."""
    bands = images[:, :3] if images.shape[1] >= 3 else images[:, :1].expand(-1, 3, -1, -1)
    return bands.permute(0, 2, 3, 1).float().cpu().numpy()


def reconstruction_figure(inputs: Tensor, masked: Tensor, reconstructed: Tensor) -> Figure:
    """A sheet with one column an image: input, masked input, reconstruction.

    Args:
        inputs, masked, reconstructed: ``(B, C, H, W)`` in [0, 1].
    """
    rows = {
        "input": displayable(inputs),
        "masked": displayable(masked),
        "reconstructed": displayable(reconstructed),
    }
    columns = len(inputs)
    figure = Figure(figsize=(1.5 * columns + 0.6, 4.8), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, (title, pictures) in zip(axes, rows.items(), strict=True):
        row[0].set_ylabel(title, fontsize=11)
        for axis, picture in zip(row, pictures, strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
    return figure
