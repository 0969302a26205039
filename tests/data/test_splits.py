"""A training and a test part have the same classes."""

from __future__ import annotations

import io
import logging
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image as PillowImage

from cmid.data import ImageFolder, open_split


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.new("RGB", (8, 8)).save(path)
    return path


def image_list(folder: Path, name: str, labels: list[object]) -> Path:
    for number in range(len(labels)):
        picture(folder / f"{number}.png")
    path = folder / name
    path.write_text("".join(f"{number}.png {label}\n" for number, label in enumerate(labels)))
    return path


def shard(folder: Path, name: str, labels: list[object]) -> Path:
    data = picture(folder / "x.png").read_bytes()
    with tarfile.open(folder / name, "w") as archive:
        for number, label in enumerate(labels):
            for ending, content in (("png", data), ("cls", str(label).encode())):
                info = tarfile.TarInfo(f"{number}.{ending}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return folder / name


@pytest.mark.parametrize("write", [image_list, shard])
@pytest.mark.parametrize("test", [[0, 10], [0], [10, 20], [20, 0, 10]])
def test_numbers_mean_the_same_in_both_parts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, write, test: list[object]
) -> None:
    ending = "txt" if write is image_list else "tar"
    train = write(tmp_path, f"train.{ending}", [0, 10, 20, 0, 10, 20])
    with caplog.at_level(logging.WARNING):
        parts = open_split(train, write(tmp_path, f"test.{ending}", test))
    assert [parts[1].read(index).label for index in range(len(test))] == test
    assert tuple(parts[0].classes) == tuple(parts[1].classes)
    assert ("occur in no test image" in caplog.text) == (len(test) < 3)


def test_arrays_of_many_bands_bring_their_labels(tmp_path: Path) -> None:
    paths = {part: tmp_path / f"{part}.h5" for part in ("train", "test", "bare")}
    for part, path in paths.items():
        with h5py.File(path, "w") as file:
            file["images"] = np.ones((4, 5, 8, 8), dtype=np.uint16)
            if part != "bare":
                file["labels"] = [0, 1, 1, 0]
    train, test = open_split(paths["train"], paths["test"])
    assert [test[number].label for number in range(4)] == [0, 1, 1, 0]
    assert train.num_bands == 5
    parts = open_split(paths["train"], train_share=0.5)
    assert [sorted(part[number].label for number in range(2)) for part in parts] == [[0, 1]] * 2
    with pytest.raises(ValueError, match=r"bare\.h5 has no dataset 'labels'; it holds images"):
        open_split(paths["bare"])
    assert sum(map(len, open_split(paths["bare"], labelled=False))) == 4


def test_classes_unseen_in_training_are_named(tmp_path: Path) -> None:
    train = image_list(tmp_path, "train.txt", [0, 10, 20])
    for labels, odd in (([0, 30], "30"), ([0, 5], "5"), (["forest", "lake"], "forest, lake")):
        test = image_list(tmp_path, "test.txt", labels)
        with pytest.raises(ValueError, match=rf"differ in their classes: {odd} of the test part"):
            open_split(train, test)


def test_names_of_a_smaller_test_part_keep_their_numbers(tmp_path: Path) -> None:
    train = image_list(tmp_path, "train.txt", ["a", "b", "c"])
    parts = open_split(train, image_list(tmp_path, "test.txt", ["c", "a"]))
    assert [parts[1].read(index).label for index in range(2)] == [2, 0]


def test_folders_that_lack_a_class_for_the_test_are_matched(tmp_path: Path) -> None:
    for name in ("train/a/1", "train/b/1", "train/c/1", "val/c/1", "val/a/1"):
        picture(tmp_path / f"{name}.png")
    _, test = open_split(tmp_path)
    assert [test.read(index).label for index in range(2)] == [0, 2]
    picture(tmp_path / "val/d/1.png")
    with pytest.raises(ValueError, match="d of the test part occurs in no training image"):
        open_split(tmp_path)


def test_folders_named_by_numbers_are_in_the_order_of_these(tmp_path: Path) -> None:
    for name in ("10", "2", "1"):
        picture(tmp_path / f"train/{name}/1.png")
    assert ImageFolder(tmp_path / "train").classes == ("1", "2", "10")
    test = image_list(tmp_path, "test.txt", [10, 1])
    _, labelled = open_split(tmp_path / "train", test)
    assert [labelled.read(index).label for index in range(2)] == [2, 0]


def test_one_class_with_a_high_number_is_one_class(tmp_path: Path) -> None:
    train = image_list(tmp_path, "train.txt", [7, 7])
    with pytest.raises(ValueError, match="has 1 classes"):
        open_split(train, train)
    with pytest.raises(ValueError, match="label 20261125 is too high for the number of a class"):
        open_split(image_list(tmp_path, "train.txt", [0, 20261125]), train)
