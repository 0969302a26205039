"""Generated scenes at two dates with their changed pixels, on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from cmid.data.scenes import generate_scene
from cmid.data.writing import write_image


def write_scenes(out: Path, *, train: int, val: int, size: int, seed: int, bands: int = 3) -> None:
    """Write ``train/{A,B,label}`` and ``val/{A,B,label}``: the same files for one seed.

    Images are PNG, or GeoTIFF where there are more than three bands (then infrared). Labels are PNG
    of 0, and 255 where the material has changed; season, light and noise do not count.

    Args:
        out: folder; files of an earlier call with as many scenes are replaced.
        train, val: number of scenes; no scene is in both.
        size: height and width in pixels.
        seed: random seed of the scenes.
        bands: number of bands, 3 or more.

    Raises:
        FileExistsError: ``out`` holds files that this call would not write.
        ValueError: a size or a number of bands that scenes do not have.
    """
    ending = ".png" if bands == 3 else ".tif"
    stems = [
        Path("train" if index < train else "val", f"scene_{index:05}")
        for index in range(train + val)
    ]
    folders = {"A": ending, "B": ending, "label": ".png"}
    wanted = {
        stem.parent / folder / f"{stem.name}{end}"
        for stem in stems
        for folder, end in folders.items()
    }
    for path in sorted(out.rglob("*")):
        if path.is_file() and path.relative_to(out) not in wanted:
            raise FileExistsError(f"{path} is none of these scenes: choose another folder")
    for index, stem in enumerate(tqdm(stems, desc="scenes", unit="scene")):
        scene = generate_scene(index, seed=seed, size=size, num_bands=bands, second_date=True)
        assert scene.image_second is not None
        assert scene.change_mask is not None
        for folder, image in (("A", scene.image), ("B", scene.image_second)):
            pixels = image.permute(1, 2, 0).numpy()
            write_image(out / stem.parent / folder / f"{stem.name}{ending}", pixels)
        label = scene.change_mask.astype(np.uint8) * 255
        write_image(out / stem.parent / "label" / f"{stem.name}.png", label)
