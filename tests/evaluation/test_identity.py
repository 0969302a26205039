"""Sources of other images are told apart, and copies of the same ones are not."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image as PillowImage

from cmid.data import HDF5Images, ImageFolder, SceneSource, TarShards
from cmid.data.segmentation import ChosenMasks, SegmentationFolder
from cmid.data.source import ImageSource
from cmid.data.splits import SubsetSource
from cmid.evaluation.identity import fingerprint, images_digest
from cmid.evaluation.tested_masks import _Pictures

Opened = Callable[[Path, int], ImageSource]


def noise(seed: int, size: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def hdf5(folder: Path, seed: int) -> ImageSource:
    path = folder / "images.h5"
    with h5py.File(path, "w") as file:
        file["images"] = np.stack([noise(seed), noise(seed + 1)])
    return HDF5Images(path)


def shards(folder: Path, seed: int) -> ImageSource:
    with tarfile.open(folder / "0.tar", "w") as archive:
        for number in range(2):
            buffer = io.BytesIO()
            PillowImage.fromarray(noise(seed + number)).save(buffer, "BMP")
            info = tarfile.TarInfo(f"{number}.img_content")
            info.size = buffer.tell()
            archive.addfile(info, io.BytesIO(buffer.getvalue()))
    return TarShards(folder / "0.tar")


def pictures(folder: Path, seed: int) -> ImageSource:
    for name, array in (("img_dir", noise(seed)), ("ann_dir", np.eye(8, dtype=np.uint8))):
        (folder / name).mkdir()
        PillowImage.fromarray(array).save(folder / name / "0.png")
    return _Pictures(ChosenMasks(SegmentationFolder(folder, num_classes=2)))


@pytest.mark.parametrize("opened", [hdf5, shards, pictures])
def test_files_of_other_images_are_told_apart_and_copies_are_not(
    opened: Opened, tmp_path: Path
) -> None:
    sources = []
    for name, seed in (("one", 0), ("other", 5), ("copy", 0)):
        (tmp_path / name).mkdir()
        sources.append(opened(tmp_path / name, seed))
    one, other, copy = sources
    assert len(one) == len(other)
    for known in (fingerprint, images_digest):
        assert known(one) != known(other)
        assert known(SubsetSource(one, [0])) != known(SubsetSource(other, [0]))
        assert known(one) == known(one)
    assert images_digest(one) == images_digest(copy)


def test_a_file_that_changed_is_another(tmp_path: Path) -> None:
    before = fingerprint(hdf5(tmp_path, 0))
    os.utime(tmp_path / "images.h5", (0, 0))
    assert fingerprint(HDF5Images(tmp_path / "images.h5")) != before


def test_options_and_parts_of_scenes_are_told_apart() -> None:
    sources = [SceneSource(4, size=32), SceneSource(4, size=64), SceneSource(4, size=32, seed=1)]
    sources += [SubsetSource(sources[0], [0, 1]), SubsetSource(sources[0], [0, 2])]
    for known in (fingerprint, images_digest):
        assert len({known(source) for source in sources}) == len(sources)
        assert known(SceneSource(4, size=32, keep=False)) == known(sources[0])


def test_folders_are_known_by_names_and_features_by_labels_too(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / "one" / name).mkdir(parents=True)
        pictures(tmp_path / "one" / name, 0)
    shutil.copytree(tmp_path / "one", tmp_path / "copy")  # with their times
    one, copy = ImageFolder(tmp_path / "one"), ImageFolder(tmp_path / "copy")
    for known in (fingerprint, images_digest):
        assert known(one) == known(copy)
    copy.labels = copy.labels + 1  # as those of a training part with more classes
    assert fingerprint(one) != fingerprint(copy)
    assert images_digest(one) == images_digest(copy)


def test_features_of_other_bands_are_told_apart(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    shape = {"driver": "GTiff", "dtype": "uint8", "count": 4, "height": 8, "width": 8}
    for folder in ("tiles/a", "masks/img_dir", "masks/ann_dir"):
        (tmp_path / folder).mkdir(parents=True)
    for folder in ("tiles/a", "masks/img_dir"):
        with rasterio.open(tmp_path / folder / "0.tif", "w", **shape) as file:
            file.write(np.ones((4, 8, 8), np.uint8))
    PillowImage.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / "masks/ann_dir/0.png")

    def tiles(bands: list[int]) -> ImageSource:
        return ImageFolder(tmp_path / "tiles", bands=bands)

    def masks(bands: list[int]) -> ImageSource:
        folder = SegmentationFolder(tmp_path / "masks", num_classes=2, bands=bands)
        return _Pictures(ChosenMasks(folder))

    for opened in (tiles, masks):
        found = [fingerprint(opened(bands)) for bands in ([1, 2, 3], [3, 2, 1], [2, 3, 4])]
        assert len({*found}) == 3
        assert fingerprint(opened([1, 2, 3])) == found[0]
