from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")

from benchmarks.vision_language.mmseg_masks import open_dataset
from benchmarks.vision_language.outcome import EvaluationConfig
from benchmarks.vision_language.tasks import Segmentation
from cmid.data.decoding import read_image
from cmid.data.writing import write_image
from tests.evaluation.image_text_model import COLOURS, ColourCLIP, coloured

PIPELINE = """
pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(7, 7)),
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A colour and red, side by side, as LoveDA lies: labels from 1, and 0 to ignore."""
    for number, name in enumerate(COLOURS):
        pair = torch.cat([coloured(name, 24, 24), coloured("red", 24, 24)], dim=2)
        mask = np.full((24, 48), number + 1, np.uint8)
        mask[:, 24:], mask[:2] = 1, 0
        write_image(tmp_path / f"img_dir/val/{number}.png", pair.permute(1, 2, 0).numpy().copy())
        write_image(tmp_path / f"ann_dir/val/{number}.png", mask)
    return tmp_path


def config(root: Path, more: str = "") -> str:
    """A configuration of mmsegmentation's own parts, with a pipeline that shrinks images."""
    path = root / "config.py"
    path.write_text(
        f"""{PIPELINE}
val_dataloader = dict(dataset=dict(
    type="LoveDADataset",
    data_root={str(root)!r},
    data_prefix=dict(img_path="img_dir/val", seg_map_path="ann_dir/val"),
    metainfo=dict(classes=("background", "building", "road")),
    pipeline=pipeline,
))
{more}"""
    )
    return str(path)


def stored(root: Path, number: int) -> torch.Tensor:
    return read_image(root / f"img_dir/val/{number}.png", num_bands=3).pixels


def test_a_dataset_gives_its_images_as_they_are(root: Path) -> None:
    masks = open_dataset(config(root))
    assert len(masks) == len(COLOURS)
    assert masks.classes.lines == ("background", "building", "road")
    for number in range(len(COLOURS)):
        pixels, mask = masks[number]
        assert torch.equal(pixels, stored(root, number))
        assert mask.dtype == torch.uint8
        assert mask[0].tolist() == [255] * 48
        assert mask[5].tolist() == [number] * 24 + [0] * 24


def test_pixels_of_a_dataset_are_named(root: Path) -> None:
    (root / "list.txt").write_text("red\ngreen\nblue\n")
    evaluation = Segmentation(config(root), str(root / "list.txt"), templates="plain")
    outcome = evaluation.run(ColourCLIP(), "colours", EvaluationConfig())
    assert outcome.measures["mIoU"] > 0.9
    named = Segmentation(config(root), templates="plain").run(
        ColourCLIP(), "colours", EvaluationConfig()
    )
    assert named.per_class is not None
    assert [*named.per_class[1]] == ["background", "building", "road"]
    (root / "short.txt").write_text("red\ngreen\n")
    with pytest.raises(ValueError, match=r"config.py has 3 classes, .*short.txt 2"):
        Segmentation(config(root), str(root / "short.txt")).run(
            ColourCLIP(), "a", EvaluationConfig()
        )
    with pytest.raises(ValueError, match="needs names of its classes: give --vocabulary"):
        Segmentation(str(root))


def test_a_shipped_configuration_opens(tmp_path: Path, root: Path) -> None:
    """Rasters come as RGB; masks are checked."""
    shipped = Path(__file__).resolve().parents[3] / "configs/segmentation/_base_"
    path = tmp_path / "folder.py"
    path.write_text(
        f"""_base_ = [{str(shipped / "datasets/tiles.py")!r}, {str(shipped / "runtime.py")!r}]
steps = [dict(type="LoadRaster", bands=[1, 2, 3]), dict(type="LoadCheckedAnnotations")]
names = dict(classes=("a", "b", "c"))
data = dict(type="ImageMaskFolder", data_root={str(root)!r}, metainfo=names)
val_dataloader = dict(dataset=dict(**data, reduce_zero_label=True, pipeline=steps))
test_dataloader = val_dataloader
"""
    )
    pixels, mask = open_dataset(str(path))[2]
    assert torch.equal(pixels, stored(root, 2))
    assert mask[5].tolist() == [2] * 24 + [0] * 24


def test_labels_that_no_byte_holds_are_named_for_any_dataset(root: Path) -> None:
    wide = np.full((24, 48), 257, np.uint16)  # 1 for who keeps the low byte
    write_image(root / "ann_dir/val/0.png", wide)
    with pytest.raises(ValueError, match=r"ann_dir/val/0\.png holds label 257 \(1152 pixels"):
        open_dataset(config(root))[0]


def test_black_and_white_masks_of_any_dataset_are_named(root: Path) -> None:
    mask = np.full((24, 48), 255, np.uint8)
    mask[:5] = 0
    for number in range(len(COLOURS)):
        write_image(root / f"ann_dir/val/{number}.png", mask)
    with pytest.raises(ValueError, match=r"ann_dir/val: 3 masks hold 0, 255 only"):
        open_dataset(config(root))


def test_what_cannot_be_opened_is_named(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no configuration nowhere.py"):
        open_dataset("nowhere.py")
    with pytest.raises(ValueError, match="has no data for train"):
        open_dataset(config(root), part="train")
    wrapped = "test_dataloader = dict(dataset=dict(type='RepeatDataset', times=2, dataset={}))"
    with pytest.raises(ValueError, match="RepeatDataset has no pipeline"):
        open_dataset(config(root, wrapped))
