"""The contract of image sources, for every one there is: what loaders and transforms rely on."""

from __future__ import annotations

import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from cmid.data import (
    HDF5Images,
    ImageFolder,
    ImageList,
    ImageSource,
    RasterWindows,
    SceneSource,
    SubsetSource,
    TarShards,
    UnreadableImageError,
)
from cmid.data.channel_statistics import MILLION_AID
from cmid.data.checked import CheckedSource
from cmid.data.source import WrappedSource

rasterio = pytest.importorskip("rasterio")

COUNT, SIDE = 4, 48


def _folder(root: Path) -> ImageFolder:
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        path = root / "images" / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        PillowImage.fromarray(pixels).save(path)
    return ImageFolder(root / "images")


def _list(root: Path) -> ImageList:
    _folder(root)
    paths = sorted((root / "images").rglob("*.jpg"))
    lines = "".join(f"{path.relative_to(root)}\t{path.parent.name}\n" for path in paths)
    (root / "list.txt").write_text(lines)
    return ImageList(root / "list.txt")


def _tar(root: Path) -> TarShards:
    _folder(root)
    with tarfile.open(root / "shard.tar", "w") as archive:
        for path in sorted((root / "images").rglob("*.jpg")):
            archive.add(path, path.name)
    return TarShards(root / "shard.tar")


def _hdf5(root: Path) -> HDF5Images:
    pixels = np.random.default_rng(0).integers(0, 3000, (COUNT, 4, SIDE, SIDE), dtype=np.uint16)
    with h5py.File(root / "images.h5", "w") as file:
        file.create_dataset("images", data=pixels, chunks=(1, 4, SIDE, SIDE), compression="gzip")
        file["labels"] = np.arange(COUNT) % 2
    return HDF5Images(root / "images.h5", labels="labels", layout="NCHW")


def _rasters(root: Path) -> RasterWindows:
    shape = {"count": 2, "height": 2 * SIDE, "width": 3 * SIDE, "dtype": "uint16"}
    pixels = np.random.default_rng(0).integers(1, 3000, (2, 2 * SIDE, 3 * SIDE), dtype=np.uint16)
    with rasterio.open(root / "scene.tif", "w", driver="GTiff", tiled=True, **shape) as file:
        file.write(pixels)
    return RasterWindows(root / "scene.tif", window=SIDE, windows_per_epoch=COUNT)


SOURCES: dict[str, Callable[[Path], ImageSource]] = {
    "ImageFolder": _folder,
    "ImageList": _list,
    "TarShards": _tar,
    "HDF5Images": _hdf5,
    "RasterWindows": _rasters,
    "SceneSource": lambda root: SceneSource(COUNT, size=SIDE),
    "WrappedSource": lambda root: WrappedSource(_folder(root)),
    "SubsetSource": lambda root: SubsetSource(_folder(root), [3, 1, 2]),
    "CheckedSource": lambda root: CheckedSource(_folder(root), MILLION_AID),
}


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> ImageSource:
    return SOURCES[request.param](tmp_path)


def _all(kind: type[ImageSource]) -> set[type[ImageSource]]:
    return {kind}.union(*map(_all, kind.__subclasses__()))


def test_every_source_of_the_project_is_tested() -> None:
    ours = {kind for kind in _all(ImageSource) if kind.__module__.startswith("cmid.")}
    public = {kind.__name__ for kind in ours if not kind.__name__.startswith("_")}
    assert public - {"ImageSource"} == {*SOURCES}


def same(a: Any, b: Any) -> bool:
    return torch.equal(a.pixels, b.pixels) and (a.label, a.name, a.full_size, a.kind) == (
        *(b.label, b.name, b.full_size, b.kind),
    )


def test_images_have_the_bands_type_and_labels_that_the_source_tells(source: ImageSource) -> None:
    assert len(source) in (3, COUNT)
    for index in range(len(source)):
        image = source[index]
        bands, *size = image.pixels.shape
        assert (bands, tuple(size)) == (source.num_bands, image.full_size)
        assert image.pixels.dtype in (torch.uint8, torch.float32)
        assert image.pixels.isfinite().all()
        assert image.name
        if source.classes:
            assert 0 <= image.label < len(source.classes)
        else:
            assert image.label == -1
        if image.kind is not None:
            assert image.kind.is_8bit == (image.pixels.dtype == torch.uint8)
    assert len(source.band_names) in (0, source.num_bands)


def test_the_same_generator_state_gives_the_same_image(source: ImageSource) -> None:
    for index in range(len(source)):
        first, second = (source.read(index, generator=np.random.default_rng(5)) for _ in "ab")
        assert same(first, second)
        assert same(source.read(index), source.read(index))


def test_a_reduced_image_is_never_below_the_size_asked_for(source: ImageSource) -> None:
    full = source.read(0)
    for least in ((1, 1), (SIDE // 3, SIDE // 2), (SIDE, SIDE), (10 * SIDE, 10 * SIDE)):
        image = source.read(0, min_size=least)
        assert image.full_size == full.full_size
        for got, asked, stored in zip(image.pixels.shape[1:], least, full.full_size, strict=True):
            assert min(asked, stored) <= got <= stored


def test_a_copy_for_a_spawned_worker_reads_the_same(source: ImageSource) -> None:
    expected = source.read(1)  # files are open by now
    copied = pickle.loads(pickle.dumps(source))
    assert len(copied) == len(source)
    assert same(copied.read(1), expected)
    assert (tuple(copied.classes), copied.num_bands) == (tuple(source.classes), source.num_bands)


@pytest.mark.parametrize("index", [-1, COUNT, 10**9])
def test_an_index_outside_of_the_source_is_an_error(source: ImageSource, index: int) -> None:
    with pytest.raises(IndexError, match=f"no number {index}"):
        source.read(index)


@pytest.mark.parametrize(
    "name", [name for name in SOURCES if name not in ("SceneSource", "WrappedSource")]
)
def test_a_broken_file_is_named_in_one_line(name: str, tmp_path: Path) -> None:
    source = SOURCES[name](tmp_path)
    broken = [path for path in tmp_path.rglob("*") if path.suffix in (".jpg", ".tif", ".tar")]
    broken = [path for path in broken if path.suffix != ".jpg" or name != "TarShards"]
    for path in broken or [tmp_path / "images.h5"]:
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 4])
    with pytest.raises(UnreadableImageError) as error:
        [source.read(index) for index in range(len(source))]
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)
