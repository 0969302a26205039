"""Maps as pictures for a first look: colours of classes, principal components of embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage

from cmid.data.rasters import opened
from cmid.files import whole_file
from cmid.visualization.correspondence import principal_components
from cmid.visualization.stretching import stretched

_SIDE = 1024
_VALUES_HELD = 2**26
_FEWEST_CELLS = 4  # that have three components


def write_picture(raster: Path) -> Path:
    """Write a map of ``tools/map.py`` as PNG beside it, of 1024 pixels a side at most.

    Classes have their colours, embeddings those of their first three principal components, fewer
    than four cells are grey; of other maps the first band is seen in grey. What is missing is
    transparent.
    """
    with opened(raster) as file:
        longest = max(file.height, file.width)
        scale = min(1.0, _SIDE / longest)
        values = file.height * file.width * file.count * scale**2
        scale *= min(1.0, (_VALUES_HELD / values) ** 0.5)
        shape = (file.count, max(1, round(file.height * scale)), max(1, round(file.width * scale)))
        read = file.read(out_shape=shape, masked=True)
        pixels = _painted(file, read)
    seen = ~np.ma.getmaskarray(read)[0]
    alpha = (255 * seen).astype(np.uint8)[..., None]
    path = raster.with_suffix(".png")
    with whole_file(path) as part:
        PillowImage.fromarray(np.concatenate([pixels, alpha], axis=-1)).save(part, format="png")
    return path


def _painted(file: Any, read: np.ma.MaskedArray[Any, Any]) -> NDArray[np.uint8]:
    """``(H, W, 3)`` of what was read."""
    values, missing = read.filled(0), np.ma.getmaskarray(read)
    if "class" in file.descriptions:
        colours = np.zeros((256, 4), dtype=np.uint8)
        for number, colour in file.colormap(1).items():
            colours[number] = colour
        return colours[values[0], :3]
    if (file.descriptions[0] or "").startswith("feature "):
        scales = np.array(file.scales, dtype=np.float32)[:, None]
        seen = ~missing[0]
        cells = torch.from_numpy(values[:, seen].astype(np.float32) * scales)  # (D, N)
        pixels = np.zeros((*seen.shape, 3), dtype=np.uint8)
        if seen.sum() < _FEWEST_CELLS:
            pixels[seen] = 128
            return pixels
        components = principal_components(cells[None, :, None])[0, :, 0].T
        pixels[seen] = (255 * components).round().byte().numpy()
        return pixels
    return np.repeat(stretched(values[:1], missing[:1]).transpose(1, 2, 0), 3, axis=-1)
