from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")

from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import DATASETS

from benchmarks.openmmlab.annotations import LoadCheckedAnnotations
from benchmarks.openmmlab.preprocessing import BandSegDataPreProcessor
from benchmarks.segmentation.datasets import CheckedLoveDA, CheckedPotsdam, ImageMaskFolder
from cmid.data.masks import label_table
from cmid.data.writing import write_image

PIPELINE = [{"type": "LoadImageFromFile"}, {"type": "LoadCheckedAnnotations"}]
PREFIX = {"img_path": "img_dir", "seg_map_path": "ann_dir"}
FIVE = ("impervious_surface", "building", "low_vegetation", "tree", "car")


@pytest.fixture(autouse=True)
def _scope() -> None:
    init_default_scope("mmseg")


def write(root: Path, labels: np.ndarray, *, size: tuple[int, int] = (8, 10)) -> Path:
    write_image(root / "img_dir/a.png", np.zeros((*size, 3), np.uint8))
    write_image(root / "ann_dir/a.png", labels)
    return root


def potsdam(root: Path, **more: object) -> CheckedPotsdam:
    return CheckedPotsdam(data_root=str(root), data_prefix=PREFIX, pipeline=PIPELINE, **more)


def folder(root: Path, **more: object) -> ImageMaskFolder:
    names = {"classes": ("a", "b", "c")}
    return ImageMaskFolder(str(root), metainfo=names, pipeline=PIPELINE, **more)


@pytest.mark.parametrize("classes", [None, FIVE, ("tree", "building")])
def test_masks_in_order_load_as_by_mmsegmentation(
    tmp_path: Path, classes: tuple[str, ...] | None
) -> None:
    labels = np.resize(np.array([0, 1, 2, 3, 4, 5, 6, 255], np.uint8), (8, 10))
    data = potsdam(write(tmp_path, labels), metainfo=classes and {"classes": classes})
    info = {**data.get_data_info(0), "seg_fields": []}
    expected = LoadAnnotations()(info)["gt_seg_map"]
    assert np.array_equal(data[0]["gt_seg_map"], expected)
    assert data[0]["seg_fields"] == ["gt_seg_map"]


def test_clutter_is_ignored_where_its_name_is_left_out() -> None:
    label_map = CheckedPotsdam.get_label_map(FIVE)
    table = label_table(6, reduce_zero_label=True, label_map=label_map)
    assert table[:8].tolist() == [255, 0, 1, 2, 3, 4, 255, -1]
    assert label_table(3)[[0, 2, 3, 254, 255]].tolist() == [0, 2, -1, -1, 255]


def test_a_label_out_of_range_is_named(tmp_path: Path) -> None:
    labels = np.zeros((8, 10), np.uint8)
    labels[0, :3] = 7
    with pytest.raises(ValueError, match=r"ann_dir/a\.png holds label 7 \(3 pixels.* 0 to 6, and"):
        potsdam(write(tmp_path, labels))[0]
    with pytest.raises(ValueError, match=r"ann_dir/a\.png holds label 7 \(3 pixels.* 0 to 2, and"):
        folder(tmp_path)[0]


def test_labels_that_no_byte_holds_are_named(tmp_path: Path) -> None:
    write(tmp_path, np.full((8, 10), 257, np.uint16))  # 1 for who keeps the low byte
    with pytest.raises(ValueError, match=r"a\.png holds label 257 \(80 pixels"):
        folder(tmp_path)[0]


def test_masks_of_another_form_are_named(tmp_path: Path) -> None:
    write(tmp_path, np.zeros((8, 10, 3), np.uint8))
    with pytest.raises(ValueError, match=r"a\.png has 3 channels.*prepare_segmentation"):
        folder(tmp_path)[0]
    write(tmp_path, np.zeros((8, 9), np.uint8))
    with pytest.raises(ValueError, match=r"a\.png is 8 x 9, its image 8 x 10"):
        folder(tmp_path)[0]
    (tmp_path / "ann_dir/a.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"a\.png is no readable mask"):
        folder(tmp_path)[0]


@pytest.mark.parametrize("make", [potsdam, folder])
def test_missing_masks_are_named_before_training(tmp_path: Path, make) -> None:
    write(tmp_path, np.zeros((8, 10), np.uint8))
    write_image(tmp_path / "img_dir/b.png", np.zeros((8, 10, 3), np.uint8))
    with pytest.raises(FileNotFoundError, match=r"1 of 2 images .* first .*ann_dir/b\.png"):
        make(tmp_path)
    (tmp_path / "ann_dir/a.png").rename(tmp_path / "ann_dir/b.png")
    (tmp_path / "img_dir/a.png").unlink()
    data = make(tmp_path)
    (tmp_path / "ann_dir/b.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"no mask .*ann_dir/b\.png"):
        data[0]
    (tmp_path / "img_dir/b.png").unlink()
    with pytest.raises(FileNotFoundError, match="img_dir holds no image ending in"):
        make(tmp_path)


@pytest.mark.parametrize("make", [potsdam, folder])
def test_missing_folders_and_jpegs_of_masks_are_named(tmp_path: Path, make) -> None:
    write(tmp_path, np.zeros((8, 10), np.uint8))
    (tmp_path / "ann_dir/a.png").rename(tmp_path / "ann_dir/a.jpg")
    with pytest.raises(FileNotFoundError, match=r"ann_dir/a\.png: a\.jpg is no mask, JPEG changes"):
        make(tmp_path)
    for name, key in (("ann_dir", "seg_map_path"), ("img_dir", "img_path")):
        (tmp_path / name).rename(tmp_path / f"{name}_away")
        with pytest.raises(FileNotFoundError, match=rf"no folder .*{name}: see data_root .*{key}"):
            make(tmp_path)


def test_a_folder_pairs_by_name_at_any_depth(tmp_path: Path) -> None:
    for name in ("c", "deep/b", "a"):
        write_image(tmp_path / f"img_dir/{name}.tif", np.zeros((8, 10, 3), np.uint8))
        write_image(tmp_path / f"ann_dir/{name}.png", np.zeros((8, 10), np.uint8))
    data = folder(tmp_path)
    paths = [data.get_data_info(i)["seg_map_path"] for i in range(3)]
    assert paths == [str(tmp_path / f"ann_dir/{name}.png") for name in ("a", "c", "deep/b")]
    assert len(folder(tmp_path, indices=[0, 2])) == 2
    pictures = ImageMaskFolder(
        str(tmp_path), data_prefix={"img_path": "img_dir"}, metainfo={"classes": ("a",)}
    )
    assert "seg_map_path" not in pictures.get_data_info(0)
    with pytest.raises(ValueError, match=r"set metainfo\.classes"):
        ImageMaskFolder(str(tmp_path))


def test_missing_pixels_are_ignored(tmp_path: Path) -> None:
    write(tmp_path, np.ones((8, 10), np.uint8))
    missing = np.zeros((8, 10), bool)
    missing[2:4] = True
    info = {**folder(tmp_path).get_data_info(0), "ori_shape": (8, 10), "missing": missing}
    labels = LoadCheckedAnnotations()(info)["gt_seg_map"]
    assert np.array_equal(labels == 255, missing)


def test_black_and_white_masks_need_a_word(tmp_path: Path) -> None:
    labels = np.zeros((8, 10), np.uint8)
    labels[:3] = 255
    write(tmp_path, labels)
    options = {"metainfo": {"classes": ("background", "road")}, "pipeline": PIPELINE}
    with pytest.raises(ValueError, match=r"ann_dir: 1 masks hold 0, 255 only.* is road.*=255"):
        ImageMaskFolder(str(tmp_path), **options)
    with pytest.raises(ValueError, match="no pixel is b, c"):
        folder(tmp_path)
    data = ImageMaskFolder(str(tmp_path), foreground=255, **options)
    assert data[0]["gt_seg_map"][:, 0].tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
    unchecked = ImageMaskFolder(str(tmp_path), check_labels=False, **options)
    assert unchecked[0]["gt_seg_map"][0, 0] == 255
    labels[labels == 255] = 1
    with pytest.raises(ValueError, match=r"a\.png holds label 1 .*allowed are 0 and 255"):
        ImageMaskFolder(str(write(tmp_path, labels)), foreground=255, **options)[0]
    with pytest.raises(ValueError, match=r"hold 0, 1 only, and 0 means .*leave out reduce_zero"):
        ImageMaskFolder(str(tmp_path), reduce_zero_label=True, **options)


def test_masks_and_images_of_one_name_are_named(tmp_path: Path) -> None:
    write(tmp_path, np.zeros((8, 10), np.uint8))
    write_image(tmp_path / "ann_dir/a.tif", np.zeros((8, 10), np.uint8))
    with pytest.raises(ValueError, match=r"ann_dir/a\.\w+ and \S*/a\.\w+ have one name"):
        folder(tmp_path)
    (tmp_path / "ann_dir/a.tif").unlink()
    write_image(tmp_path / "img_dir/a.tif", np.zeros((8, 10, 3), np.uint8))
    with pytest.raises(ValueError, match=r"img_dir/a\.\w+ and \S*/a\.\w+ have one name"):
        folder(tmp_path)


def test_real_files_load(root: Path, shared_data: Path) -> None:
    config = Config.fromfile(root / "configs/segmentation/upernet_resnet18_roads.py")
    roads = {}
    for part in ("train", "val"):
        dataset = config[f"{part}_dataloader"].dataset
        dataset.data_root = str(shared_data / "segmentation/roads")
        roads[part] = DATASETS.build(dataset)
    assert {part: len(data) for part, data in roads.items()} == {"train": 50, "val": 20}
    assert roads["val"].get_data_info(0)["img_path"].endswith("satImage_051.jpg")
    assert roads["val"][0]["data_samples"].gt_sem_seg.data.unique().tolist() == [0, 1]
    for name, kind in (("potsdam", CheckedPotsdam), ("loveda", CheckedLoveDA)):
        folder = shared_data / "segmentation" / name
        data = kind(data_root=str(folder), data_prefix=PREFIX, pipeline=PIPELINE)
        known = {*range(len(data.metainfo["classes"])), 255}
        assert {*np.unique(data[0]["gt_seg_map"])} <= known


def test_any_number_of_bands_is_standardised() -> None:
    preprocessor = BandSegDataPreProcessor([1, 2, 3, 4], [1, 1, 1, 2])
    image = torch.arange(4).add(1).view(4, 1, 1).expand(4, 2, 2) * 3
    batch = preprocessor({"inputs": [image], "data_samples": []})
    assert batch["inputs"][0, :, 0, 0].tolist() == [2, 4, 6, 4]
    with pytest.raises(ValueError, match=r"images have 3 bands, data_preprocessor\.mean 4"):
        preprocessor({"inputs": [image[:3]], "data_samples": []})
    with pytest.raises(ValueError, match="4 means and 3 deviations"):
        BandSegDataPreProcessor([1, 2, 3, 4], [1, 1, 1])
