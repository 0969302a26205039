"""Folders and lists of rasters that are images as they are: tiles of any bands, with labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cmid.data import ImageFolder, ImageList, RasterWindows, UnreadableImageError, open_split
from cmid.data.values import ImageValuesError

rasterio = pytest.importorskip("rasterio")

RNG = np.random.default_rng(0)
NAMES = ("B02", "B03", "B04", "B08", "B11")


def write(
    path: Path, array: NDArray[np.generic], *, names: Sequence[str] = (), **options: object
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"count": len(array), "height": array.shape[1], "width": array.shape[2]}
    with rasterio.open(path, "w", driver="GTiff", dtype=array.dtype, **shape, **options) as file:
        file.write(array)
        for number, name in enumerate(names, 1):
            file.set_band_description(number, name)
    return path


def tiles(root: Path) -> dict[str, NDArray[np.uint16]]:
    """Two classes of four tiles of five bands; their arrays by name."""
    arrays = {}
    for label in ("forest", "water"):
        for number in range(4):
            array = RNG.integers(1, 5000, (5, 8, 8)).astype("uint16")
            arrays[f"{label}/{number}.tif"] = array
            write(root / f"{label}/{number}.tif", array, names=NAMES)
    return arrays


def test_a_folder_of_tiles_gives_all_bands_with_the_class_of_its_folder(tmp_path: Path) -> None:
    arrays = tiles(tmp_path)
    source = ImageFolder(tmp_path, bands=["all"])
    assert source.num_bands == 5
    assert source.classes == ("forest", "water")
    for index, (name, array) in enumerate(sorted(arrays.items())):
        image = source.read(index)
        assert torch.equal(image.pixels, torch.from_numpy(array.astype("float32")))
        assert image.label == int(name.startswith("water"))
        assert image.full_size == (8, 8)
        assert str(image.kind) == "uint16"


def test_bands_are_chosen_as_windows_choose_them(tmp_path: Path) -> None:
    tiles(tmp_path)
    whole = ImageFolder(tmp_path, bands=["B11", "B04"], sensor="sentinel2_l2a")
    windows = RasterWindows(
        tmp_path / "forest/0.tif", window=8, bands=["B11", "B04"], sensor="sentinel2_l2a"
    )
    assert whole.band_names == windows.band_names == ("B11", "B04")
    assert whole.sensor == windows.sensor
    (mine, its) = whole.read(0), windows.read(0)
    assert torch.equal(mine.pixels, its.pixels)
    assert mine.kind == its.kind
    with pytest.raises(ValueError, match="no band 'B12'"):
        ImageFolder(tmp_path, bands=["B12"])


def test_missing_pixels_take_the_mean_of_their_band(tmp_path: Path) -> None:
    array = RNG.integers(1, 5000, (5, 8, 8)).astype("uint16")
    array[0, :2] = 0
    write(tmp_path / "a/0.tif", array, nodata=0)
    write(tmp_path / "a/1.tif", np.zeros_like(array), nodata=0)
    source = ImageFolder(tmp_path, bands=["all"])
    image = source.read(0)
    assert image.missing is not None
    assert image.missing.sum(dim=(1, 2)).tolist() == [16, 0, 0, 0, 0]
    assert image.pixels[0, 0, 0].item() == pytest.approx(array[0, 2:].mean())
    with pytest.raises(UnreadableImageError, match=r"1\.tif: no valid pixel"):
        source.read(1)


def test_a_tile_that_differs_from_the_first_is_named(tmp_path: Path) -> None:
    arrays = tiles(tmp_path)
    array = arrays["forest/0.tif"]
    write(tmp_path / "forest/1.tif", array[:4], names=NAMES[:4])
    write(tmp_path / "forest/2.tif", array.astype("float32"), names=NAMES)
    (tmp_path / "forest/3.tif").write_bytes(b"no raster")
    source = ImageFolder(tmp_path, bands=["all"])
    with pytest.raises(ImageValuesError, match=r"0\.tif has 5 bands, .*1\.tif has 4"):
        source.read(1)
    with pytest.raises(ImageValuesError, match=r"0\.tif is uint16, .*2\.tif is float32"):
        source.read(2)
    with pytest.raises(UnreadableImageError, match=r"3\.tif is not a readable raster"):
        source.read(3)


def test_splits_and_lists_take_bands_too(tmp_path: Path) -> None:
    tiles(tmp_path / "tiles")
    (tmp_path / "list.txt").write_text("tiles/forest/1.tif forest\ntiles/water/1.tif water\n")
    named = ImageList(tmp_path / "list.txt", bands=[5, 1])
    assert named.num_bands == 2
    assert named.band_names == ()
    train, test = open_split(tmp_path / "tiles", bands=["B08", "B04"], train_share=0.5)
    assert (len(train), len(test), train.num_bands, test.num_bands) == (4, 4, 2, 2)
    _, listed = open_split(tmp_path / "tiles", tmp_path / "list.txt", bands=[1, 2, 3, 4])
    assert listed.read(0).pixels.shape == (4, 8, 8)
    with pytest.raises(ValueError, match="bands and sensor are of folders and lists"):
        open_split(tmp_path / "tiles.h5", bands=[1])
