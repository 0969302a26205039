"""Generated scenes on disk, in whatever layout of folders a benchmark reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from cmid.data.scenes.scene import Scene, generate_scene
from cmid.data.writing import write_image

Layout = Mapping[str, Callable[[Scene], NDArray[Any]]]


def write_folders(
    out: Path,
    layout: Layout,
    *,
    train: int,
    val: int,
    size: int,
    seed: int,
    bands: int = 3,
    second_date: bool = False,
    within: Sequence[str] = ("",),
) -> None:
    """Write scenes, the same files for one seed.

    Args:
        out: folder; files of an earlier call with as many scenes are replaced.
        layout: what to write of a scene, by its path: ``{part}`` is ``train`` or ``val``,
            ``{name}`` the scene's name, ``{ending}`` that of images: ``.png``, or ``.tif``
            (GeoTIFF) where there are more than three bands.
        train, val: number of scenes; no scene is in both.
        size: height and width in pixels.
        seed: random seed of the scenes.
        bands: number of bands, 3 or more: red, green, blue, infrared.
        second_date: also generate the second date.
        within: folders of ``out`` that may hold nothing else.

    Raises:
        FileExistsError: a folder of ``within`` holds files that this call would not write.
        ValueError: a size or a number of bands that scenes do not have.
    """
    names = [("train" if i < train else "val", f"scene_{i:05}") for i in range(train + val)]
    ending = ".png" if bands == 3 else ".tif"

    def path(pattern: str, part: str, name: str) -> Path:
        return out / pattern.format(part=part, name=name, ending=ending)

    wanted = {path(pattern, *named) for pattern in layout for named in names}
    for folder in within:
        for found in sorted((out / folder).rglob("*")):
            if found.is_file() and found not in wanted:
                raise FileExistsError(f"{found} is none of these scenes: choose another folder")
    for index, named in enumerate(tqdm(names, desc="scenes", unit="scene")):
        scene = generate_scene(
            index, seed=seed, size=size, num_bands=bands, second_date=second_date
        )
        for pattern, pixels in layout.items():
            write_image(path(pattern, *named), pixels(scene))


def channels_last(image: Tensor | None) -> NDArray[np.uint8]:
    """``(C, H, W)`` to a ``(H, W, C)`` numpy array, as image files hold it."""
    assert image is not None
    return image.permute(1, 2, 0).contiguous().numpy()
