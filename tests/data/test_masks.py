"""Masks of class labels: what their values mean is checked before any cast."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image as PillowImage

from cmid.data.mask_survey import survey_masks
from cmid.data.masks import label_table, look_up, read_mask
from cmid.data.segmentation import SegmentationFolder


def write_tiff(path: Path, values: np.ndarray) -> Path:
    values = np.atleast_3d(values).transpose(2, 0, 1)
    shape = dict(zip(("count", "height", "width"), values.shape, strict=True))
    with rasterio.open(path, "w", driver="GTiff", dtype=values.dtype, **shape) as file:
        file.write(values)
    return path


def write_palette(path: Path, indices: np.ndarray, colours: list[tuple[int, int, int]]) -> Path:
    picture = PillowImage.fromarray(indices.astype(np.uint8), mode="P")
    picture.putpalette([value for colour in colours for value in colour])
    picture.save(path)
    return path


def folder(root: Path, *masks: np.ndarray, **options: Any) -> SegmentationFolder:
    for number, mask in enumerate(masks):
        for name in ("img_dir", "ann_dir"):
            (root / name).mkdir(parents=True, exist_ok=True)
        image = np.zeros((*mask.shape, 3), np.uint8)
        PillowImage.fromarray(image).save(root / f"img_dir/{number}.png")
        PillowImage.fromarray(mask).save(root / f"ann_dir/{number}.png")
    return SegmentationFolder(root, **{"num_classes": 2, **options})


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (np.uint16, 257),
        (np.uint16, 65535),
        (np.int16, -1),
        (np.int32, -255),
        (np.int32, 256 * 256 + 1),
        (np.uint32, 2**31),
        (np.float32, 257.0),
        (np.int8, -1),
    ],
)
def test_labels_that_no_byte_holds_are_named(tmp_path: Path, kind: Any, value: float) -> None:
    folder(tmp_path, np.zeros((4, 6), np.uint8))
    (tmp_path / "ann_dir/0.png").unlink()
    labels = np.ones((4, 6), kind)
    labels[1, 2] = value
    write_tiff(tmp_path / "ann_dir/0.tif", labels)
    data = SegmentationFolder(tmp_path, num_classes=3)
    with pytest.raises(ValueError, match=rf"ann_dir/0\.tif holds label {int(value)} ") as caught:
        data[0]
    assert "allowed are 0 to 2" in str(caught.value)
    _, wrong = look_up(read_mask(tmp_path / "ann_dir/0.tif"), label_table(3))
    assert np.argwhere(wrong).tolist() == [[1, 2]]


@pytest.mark.parametrize("kind", [np.uint16, np.int16, np.int32, np.float32, np.float64])
def test_whole_numbers_of_any_type_are_labels(tmp_path: Path, kind: Any) -> None:
    labels = np.array([[0, 1], [2, 255]], kind)
    found, wrong = look_up(read_mask(write_tiff(tmp_path / "m.tif", labels)), label_table(3))
    assert found.dtype == np.uint8
    assert found.tolist() == [[0, 1], [2, 255]]
    assert not wrong.any()


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf, 1e20])
def test_fractions_are_named(tmp_path: Path, value: float) -> None:
    labels = np.zeros((2, 2), np.float32)
    labels[0, 1] = value
    with pytest.raises(ValueError, match=r"m\.tif holds float32 values such as .*whole numbers"):
        read_mask(write_tiff(tmp_path / "m.tif", labels))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "CMYK"])
def test_several_channels_are_no_mask(tmp_path: Path, mode: str) -> None:
    ending = "tif" if mode == "CMYK" else "png"
    PillowImage.new(mode, (3, 2)).save(tmp_path / f"m.{ending}")
    with pytest.raises(ValueError, match=r"m\.\w+ has \d channels.*prepare_segmentation"):
        read_mask(tmp_path / f"m.{ending}")


def test_a_palette_gives_its_indices(tmp_path: Path) -> None:
    indices = np.array([[0, 1], [2, 1]])
    for colours in (
        [(0, 0, 0), (128, 0, 0), (0, 128, 0)],
        [(0, 0, 0), (1, 1, 1), (2, 2, 2)],
        [(0, 0, 0), (127, 127, 127), (255, 255, 255)],  # for the eye
    ):
        path = write_palette(tmp_path / "m.png", indices, colours)
        assert np.array_equal(read_mask(path, labels=range(3)), indices)


def test_a_palette_that_could_mean_two_things_is_refused(tmp_path: Path) -> None:
    grey = write_palette(tmp_path / "m.png", np.array([[0, 1]]), [(0, 0, 0), (3, 3, 3)])
    with pytest.raises(ValueError, match=r"m\.png .* index 1 is grey level 3, and both are labels"):
        read_mask(grey, labels=range(5))
    turned = write_palette(tmp_path / "m.png", np.array([[0, 1]]), [(255,) * 3, (0,) * 3])
    with pytest.raises(ValueError, match="index 0 is grey level 255"):
        read_mask(turned, labels=[0, 1])
    assert read_mask(turned, grey_colours=True).tolist() == [[255, 0]]  # told by brightness


def test_transparency_that_holds_a_label_is_refused(tmp_path: Path) -> None:
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0, 3] = 255
    PillowImage.fromarray(pixels).save(tmp_path / "m.png")
    with pytest.raises(ValueError, match=r"m\.png is transparent in places"):
        read_mask(tmp_path / "m.png", what="label", grey_colours=True)
    PillowImage.new("LA", (2, 2), (255, 255)).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png", grey_colours=True).tolist() == [[255, 255], [255, 255]]


def test_black_and_white_masks_need_a_word(tmp_path: Path) -> None:
    mask = np.zeros((4, 6), np.uint8)
    mask[:2] = 255
    with pytest.raises(ValueError, match=r"ann_dir: 3 masks hold 0, 255 only.* foreground=255"):
        folder(tmp_path, mask, mask, mask)
    data = SegmentationFolder(tmp_path, num_classes=2, foreground=255)
    assert data[1][1][:, 0].tolist() == [1, 1, 0, 0]
    assert len(SegmentationFolder(tmp_path, num_classes=2, check_labels=False)) == 3
    with pytest.raises(ValueError, match="of class 1 of two"):
        SegmentationFolder(tmp_path, num_classes=3, foreground=255)
    mask[3] = 1
    data = folder(tmp_path, mask, foreground=255)
    with pytest.raises(ValueError, match=r"0\.png holds label 1 .*: allowed are 0 and 255"):
        data[0]


def test_sets_of_more_classes_and_empty_ones_are_named_too(tmp_path: Path) -> None:
    mask = np.zeros((4, 6), np.uint8)
    mask[:2] = 255
    with pytest.raises(ValueError, match="no pixel is class 1, class 2, class 3"):
        folder(tmp_path / "a", mask, num_classes=4)
    with pytest.raises(ValueError, match="hold 255 only"):
        folder(tmp_path / "b", np.full_like(mask, 255))
    with pytest.raises(ValueError, match=r"hold 0, 1 only, and 0 means .* leave out zero_ignored"):
        folder(tmp_path / "c", np.minimum(mask, 1), zero_ignored=True)


def test_masks_with_both_classes_and_ignored_pixels_pass(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    empty = np.zeros((4, 6), np.uint8)
    empty[0] = 255
    road = empty.copy()
    road[3] = 1
    assert len(folder(tmp_path, empty, empty, road)) == 3
    assert not caplog.records


def test_classes_that_never_occur_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mask = np.ones((4, 6), np.uint8)
    mask[0] = 2
    with caplog.at_level(logging.WARNING):
        folder(tmp_path, mask, mask, num_classes=3)
    assert "2 of 2 masks were looked at, and none has a pixel of class 0" in caplog.text
    assert "where labels count from 1, set zero_ignored" in caplog.text
    data = SegmentationFolder(tmp_path, num_classes=2)
    with pytest.raises(ValueError, match=r"holds label 2 .*where labels count from 1"):
        data[0]
    assert SegmentationFolder(tmp_path, num_classes=2, zero_ignored=True)[0][1].max() == 1


def test_a_rare_class_is_found_wherever_it_lies(tmp_path: Path) -> None:
    mask = np.zeros((2, 2), np.uint8)
    mask[0, 0] = 255
    paths = [tmp_path / f"{number}.png" for number in range(9)]
    for path in paths:
        PillowImage.fromarray(mask).save(path)
    options = {"folder": tmp_path, "names": {0: "a", 1: "b"}, "foreground": "", "from_one": ""}
    mask[1, 1] = 1
    for path in paths:
        before = path.read_bytes()
        PillowImage.fromarray(mask).save(path)
        assert survey_masks(paths, label_table(2), **options) is None
        path.write_bytes(before)


def test_images_and_masks_are_matched_by_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, part in enumerate(("train", "val")):
        for name in ("img_dir", "ann_dir"):
            (tmp_path / name / part).mkdir(parents=True)
        PillowImage.new("RGB", (3, 2)).save(tmp_path / "img_dir" / part / "a.jpg")
        PillowImage.new("L", (3, 2), number).save(tmp_path / "ann_dir" / part / "a.png")
    data = SegmentationFolder(tmp_path, num_classes=2)
    assert [int(data[index][1].max()) for index in range(2)] == [0, 1]
    PillowImage.new("L", (3, 2)).save(tmp_path / "ann_dir/val/b.png")
    with caplog.at_level(logging.WARNING):
        SegmentationFolder(tmp_path, num_classes=2)
    assert "1 masks belong to no image, first" in caplog.text
    PillowImage.new("RGB", (3, 2)).save(tmp_path / "img_dir/val/c.jpg")
    with pytest.raises(FileNotFoundError, match=r"1 images have no mask, first .*c\.jpg"):
        SegmentationFolder(tmp_path, num_classes=2)
    PillowImage.new("L", (3, 2)).save(tmp_path / "ann_dir/val/c.png")
    PillowImage.new("L", (3, 2)).save(tmp_path / "ann_dir/val/c.tif")
    with pytest.raises(ValueError, match=r"c\.png and .*c\.tif have one name"):
        SegmentationFolder(tmp_path, num_classes=2)
    (tmp_path / "ann_dir/val/c.tif").unlink()
    PillowImage.new("RGB", (3, 2)).save(tmp_path / "img_dir/val/c.png")
    with pytest.raises(ValueError, match=r"2 images are named .*c, with other endings"):
        SegmentationFolder(tmp_path, num_classes=2)
