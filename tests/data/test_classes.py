from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image as PillowImage

from cmid.data import HDF5Images, ImageFolder, ImageList, PretrainData, SceneSource, SubsetSource
from cmid.data.classes import match_classes, require_labels
from cmid.views import TwoViews

VIEWS = TwoViews(size=16, block_size=8)


def folder(path: Path, classes: str, *, count: int = 2) -> ImageFolder:
    for name in classes:
        (path / name).mkdir(parents=True)
        for i in range(count):
            PillowImage.new("RGB", (16, 16), (i, 9, 9)).save(path / name / f"{i}.png")
    return ImageFolder(path)


def numbered(path: Path, labels: list[Any], *, name: str = "list.csv") -> ImageList:
    path.mkdir(parents=True, exist_ok=True)
    PillowImage.new("RGB", (16, 16)).save(path / "x.png")
    rows = "".join(f"x.png,{label}\n" for label in labels)
    (path / name).write_text("path,label\n" + rows)
    return ImageList(path / name)


def knn(train: Any, val: Any) -> PretrainData:
    return PretrainData(SceneSource(8, size=32), VIEWS, knn_train=train, knn_val=val)


def test_classes_are_matched_by_name_not_by_number(tmp_path: Path) -> None:
    train, val = folder(tmp_path / "train", "abc"), folder(tmp_path / "val", "bc")
    assert match_classes(train, val).tolist() == [1, 2]
    knn(train, val)


def test_classes_without_a_counterpart_are_named(tmp_path: Path) -> None:
    train, val = folder(tmp_path / "train", "ab"), folder(tmp_path / "val", "abcd")
    with pytest.raises(ValueError, match=r"knn_val has classes that data\.knn_train lacks: c, d;"):
        knn(train, val)
    numbers = numbered(tmp_path / "list", [0, 1])
    with pytest.raises(ValueError, match=r"lacks: 0, 1; data\.knn_train has a, b: give both"):
        knn(train, numbers)
    # A part of them without images of the class has nothing to compare.
    knn(train, SubsetSource(val, [0, 1, 2, 3]))


def test_numbers_match_their_numbers(tmp_path: Path) -> None:
    train = numbered(tmp_path, [0, 1, 3], name="train.csv")
    assert match_classes(train, numbered(tmp_path, [1, 3], name="val.csv")).tolist() == [0, 1, 2, 3]
    assert match_classes(train, numbered(tmp_path, [1, 0], name="less.csv")).tolist() == [0, 1]
    with pytest.raises(ValueError, match="lacks: 4"):
        match_classes(train, numbered(tmp_path, [4], name="more.csv"))


@pytest.mark.parametrize("part", ["train", "val"])
def test_unlabelled_images_are_refused_before_training(tmp_path: Path, part: str) -> None:
    good, bare = folder(tmp_path / "good", "ab"), ImageFolder(tmp_path / "good", labels="none")
    pair = (bare, good) if part == "train" else (good, bare)
    with pytest.raises(
        ValueError, match=rf"data\.knn_{part}: 4 of 4 images have no class"
    ) as error:
        knn(*pair)
    assert "\n" not in str(error.value)


def test_images_without_a_label_among_others_are_counted(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"], file["labels"] = np.zeros((4, 8, 8, 3), np.uint8), [0, -1, 1, -1]
    source = HDF5Images(tmp_path / "a.h5", labels="labels")
    with pytest.raises(ValueError, match="mine: 2 of 4 images have no class"):
        require_labels(source, "mine")
    require_labels(SubsetSource(source, [0, 2]), "mine")


def test_bands_of_the_knn_are_those_of_the_source(tmp_path: Path) -> None:
    wide = SceneSource(8, size=32, num_bands=4)
    with pytest.raises(ValueError, match=r"data\.knn_train has 4 bands, data\.source 3"):
        knn(wide, wide)
