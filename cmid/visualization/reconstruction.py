"""What the student saw, and what it made of it."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from cmid.models.encoder import MaskedEncoder
from cmid.models.heads import ReconstructionHead
from cmid.views.masks import block_mask, expand_mask, fill_masked


def displayable(images: Tensor) -> np.ndarray:
    """``(B, C, H, W)`` in [0, 1] as ``(B, H, W, 3)``: the first three bands, or one thrice."""
    bands = images[:, :3] if images.shape[1] >= 3 else images[:, :1].expand(-1, 3, -1, -1)
    return bands.permute(0, 2, 3, 1).float().cpu().numpy()


@torch.no_grad()
def reconstruct(
    encoder: MaskedEncoder,
    head: ReconstructionHead,
    images: Tensor,
    *,
    block_size: int,
    ratio: float,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Mask random blocks of images and let an encoder fill them in.

    Args:
        images: ``(B, C, H, W)`` standardised; H and W multiples of ``block_size``.
        ratio: share of blocks to mask, in [0, 1].

    Returns:
        masked images and their reconstructions, ``(B, C, H, W)`` standardised, and the masks
        ``(B, H / block_size, W / block_size)`` bool.

    Raises:
        ValueError: the block does not divide the image.
    """
    height, width = images.shape[-2:]
    if height % block_size or width % block_size:
        raise ValueError(f"blocks of {block_size} do not divide an image of {height}x{width}")
    generator = np.random.default_rng(seed)
    grid = (height // block_size, width // block_size)
    masks = torch.stack([block_mask(grid, ratio, generator) for _ in images]).to(images.device)
    masked = fill_masked(images, expand_mask(masks, (height, width)))
    predicted = head.eval()(encoder.eval()(masked, masks))
    return masked, head.restore(predicted, images), masks


def reconstruction_figure(
    inputs: Tensor, masked: Tensor, reconstructed: Tensor, masks: Tensor | None = None
) -> Figure:
    """A sheet with one column an image: input, masked input, reconstruction.

    With masks also what readers of masked autoencoders (arXiv:2111.06377) expect: the visible
    pixels with the reconstruction in the masked places, and the error there.

    Args:
        inputs, masked, reconstructed: ``(B, C, H, W)`` in [0, 1].
        masks: ``(B, h, w)`` blocks, 1 or True where masked.
    """
    rows = {
        "input": displayable(inputs),
        "masked": displayable(masked),
        "reconstruction": displayable(reconstructed),
    }
    if masks is not None:
        pixels = expand_mask(masks, inputs.shape[-2:])
        filled = torch.where(pixels > 0, reconstructed, inputs)
        rows["visible +\nreconstruction"] = displayable(filled)
        rows["error"] = (filled - inputs).abs().mean(dim=1).float().cpu().numpy()
    columns = len(inputs)
    figure = Figure(figsize=(1.5 * columns + 0.6, 1.6 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, (title, pictures) in zip(axes, rows.items(), strict=True):
        row[0].set_ylabel(title, fontsize=11)
        for axis, picture in zip(row, pictures, strict=True):
            # Colours of the map concern the error alone: the other rows are RGB.
            drawn = axis.imshow(picture, interpolation="nearest", cmap="magma", vmin=0, vmax=0.5)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
    if masks is not None:
        figure.colorbar(drawn, ax=axes[-1].tolist(), shrink=0.8)
    return figure
