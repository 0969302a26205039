from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from cmid.checkpoints import load_backbone
from cmid.data.segmentation import SegmentationFolder, select
from cmid.data.values import ImageValuesError
from cmid.evaluation.dense import dense_probe, hypercolumns


def coloured_halves(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Dark and bright areas of random extent; the mask tells which is which."""
    pairs = []
    for index in range(count):
        cut = 12 + 5 * index
        mask = torch.zeros(64, 64, dtype=torch.uint8)
        mask[:, cut:] = 1
        pixels = torch.where(mask.bool(), 200, 40).expand(3, -1, -1)
        noise = torch.randint(0, 20, (3, 64, 64), generator=torch.Generator().manual_seed(index))
        pairs.append(((pixels + noise).to(torch.uint8), mask))
    return pairs


@pytest.mark.parametrize(
    ("name", "width", "side"),
    [
        ("random:resnet18", 64 + 128 + 256 + 512, 16),
        ("random:swin_tiny_patch4_window7_224", 96 + 192 + 384 + 768, 16),
        ("random:vit_tiny_patch16_224", 4 * 192, 4),
    ],
)
def test_hypercolumns_of_three_families(name: str, width: int, side: int) -> None:
    backbone = load_backbone(name, img_size=64)
    columns = hypercolumns(backbone, torch.zeros(3, 60, 64, dtype=torch.uint8))
    assert columns.shape == (width, side, side)


def test_dense_probe_finds_what_is_easy_and_ignores_what_is_ignored() -> None:
    backbone = load_backbone("random:resnet18", img_size=64)
    pairs = coloured_halves(8)
    scores = dense_probe(backbone, pairs[::2], pairs[1::2], num_classes=2)
    assert scores["mIoU"] > 0.85
    assert scores["mIoU"] == pytest.approx((scores["IoU 0"] + scores["IoU 1"]) / 2)
    spoiled = [(pixels, mask.clone()) for pixels, mask in pairs]
    for _, mask in spoiled[1::2]:
        mask[:16] = 255
    partial = dense_probe(backbone, pairs[::2], spoiled[1::2], num_classes=2)
    assert partial["mIoU"] > 0.85


def test_pixels_of_another_kind_than_the_backbone_knows_are_refused() -> None:
    backbone = load_backbone("random:resnet18", img_size=64)
    wide = [(pixels.float() * 9, mask) for pixels, mask in coloured_halves(2)]
    with pytest.raises(ImageValuesError, match=r"holds float32 values.*are of uint8"):
        dense_probe(backbone, wide, wide, num_classes=2)


def test_masks_of_one_class_are_refused() -> None:
    backbone = load_backbone("random:resnet18", img_size=64)
    pairs = [(pixels, mask * 0) for pixels, mask in coloured_halves(2)]
    with pytest.raises(ValueError, match="one class only"):
        dense_probe(backbone, pairs, pairs, num_classes=2)


def test_segmentation_folder_checks_its_masks(tmp_path: Path) -> None:
    for name in ("img_dir", "ann_dir"):
        (tmp_path / name).mkdir()
    rng = np.random.default_rng(0)
    for stem, top in (("a", 1), ("b", 2)):
        image = rng.integers(0, 255, (8, 10, 3), dtype=np.uint8)
        PillowImage.fromarray(image).save(tmp_path / "img_dir" / f"{stem}.jpg")
        mask = np.zeros((8, 10), np.uint8)
        mask[0, 0], mask[0, 1] = top, 255
        PillowImage.fromarray(mask).save(tmp_path / "ann_dir" / f"{stem}.png")
    folder = SegmentationFolder(tmp_path, num_classes=2)
    ((pixels, mask),) = select(folder, [0])
    assert pixels.shape == (3, 8, 10)
    assert mask.unique().tolist() == [0, 1, 255]
    with pytest.raises(ValueError, match=r"b\.png holds label 2 .*: allowed are 0 to 1"):
        folder[1]
    PillowImage.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "ann_dir" / "a.png")
    with pytest.raises(ValueError, match=r"a\.png is 4 x 4, its image"):
        folder[0]
    (tmp_path / "ann_dir" / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 images have no mask, first .*b\.jpg"):
        SegmentationFolder(tmp_path, num_classes=2)
