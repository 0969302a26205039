"""Generated scenes as image folders, a folder a class."""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from cmid.data.scenes import generate_scene
from cmid.data.scenes.folders import channels_last
from cmid.data.writing import write_image


def write_scenes(out: Path, *, train: int, val: int, size: int, seed: int = 0) -> None:
    """Write ``train/<class>/*.png`` and ``val/<class>/*.png``.

    Args:
        out: folder, made where it is missing.
        train, val: number of scenes of each part; every ten hold every class once.
        size: pixels per side.
        seed: random seed of the training part; the validation part has the next one.
    """
    for part, count, part_seed in (("train", train, seed), ("val", val, seed + 1)):
        for index in tqdm(range(count), desc=f"{out / part}", unit="scene"):
            scene = generate_scene(index, seed=part_seed, size=size)
            path = out / part / scene.class_name / f"{index:05d}.png"
            write_image(path, channels_last(scene.image))
