"""Generated scenes with their masks, on disk as mmsegmentation lays them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from cmid.data.scenes import generate_scene
from cmid.data.writing import write_image


def write_scenes(out: Path, *, train: int, val: int, size: int, seed: int, bands: int = 3) -> None:
    """Write ``img_dir/{train,val}`` and ``ann_dir/{train,val}``: the same files for one seed.

    Images are PNG, or GeoTIFF where there are more than three bands (then infrared). Masks are PNG
    of indices into `cmid.data.scenes.SEMANTIC_CLASSES`; no pixel is ignored.

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
    names = [*_names(train, val)]
    wanted = {Path("img_dir", part, f"{name}{ending}") for part, name, _ in names}
    wanted |= {Path("ann_dir", part, f"{name}.png") for part, name, _ in names}
    for folder in ("img_dir", "ann_dir"):
        for path in sorted((out / folder).rglob("*")):
            if path.is_file() and path.relative_to(out) not in wanted:
                raise FileExistsError(f"{path} is none of these scenes: choose another folder")
    for part, name, index in tqdm(names, desc="scenes", unit="scene"):
        scene = generate_scene(index, seed=seed, size=size, num_bands=bands)
        pixels = scene.image.permute(1, 2, 0).contiguous().numpy()
        write_image(out / "img_dir" / part / f"{name}{ending}", pixels)
        write_image(out / "ann_dir" / part / f"{name}.png", scene.semantic_mask)


def _names(train: int, val: int) -> Iterator[tuple[str, str, int]]:
    """Part, name and index of every scene; indices of the two parts do not meet."""
    for index in range(train + val):
        yield "train" if index < train else "val", f"scene_{index:05}", index
