from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F

from cmid.checkpoints import load_backbone
from cmid.evaluation.dense import hypercolumns
from cmid.models.intermediates import (
    intermediate_maps,
    is_plain,
    levels,
    one_of_each_stride,
    stages,
)

# Architectures of every kind of code in timm that names its levels in a way of its own.
FAMILIES = [
    *("resnet18", "convnext_atto", "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"),
    *("efficientnet_lite0", "regnety_002", "mobilenetv3_small_050", "dla46x_c", "hgnetv2_b0"),
    *("pvt_v2_b0", "densenet121", "repvit_m0_9"),
]


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_levels_are_what_a_network_returns(name: str) -> None:
    network = timm.create_model(name, num_classes=0).eval()
    images = torch.rand(1, 3, 224, 224)
    with torch.device("meta"):
        assert levels(timm.create_model(name, num_classes=0)) == levels(network)
    for chosen in (levels(network), stages(network), one_of_each_stride(network)):
        maps = intermediate_maps(network, images, chosen)
        for level, features in zip(chosen, maps, strict=True):
            side = 224 // level.stride
            assert features.shape == (1, level.width, side, side)


def test_a_plain_network_is_cut_in_quarters_and_a_hierarchical_one_at_its_stages() -> None:
    with torch.device("meta"):
        plain = timm.create_model("vit_tiny_patch16_224", num_classes=0)
        dilated = timm.create_model("resnet18", num_classes=0, output_stride=8)
    assert is_plain(plain)
    assert [level.index for level in stages(plain)] == [2, 5, 8, 11]
    assert one_of_each_stride(plain) == stages(plain)
    assert not is_plain(dilated)
    assert [level.stride for level in stages(dilated)] == [4, 8, 8, 8]
    assert [level.width for level in one_of_each_stride(dilated)] == [64, 512]
    with pytest.raises(ValueError, match="has 5 levels, fewer than 6"):
        stages(dilated, 6)


def test_a_network_without_levels_is_named() -> None:
    with pytest.raises(ValueError, match="Conv2d has no forward_intermediates in timm"):
        levels(torch.nn.Conv2d(3, 8, 1))


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("resnet18", {}),
        ("resnet18", {"output_stride": 8}),
        ("swin_tiny_patch4_window7_224", {}),
        ("vit_tiny_patch16_224", {"depth": 7}),
    ],
)
@torch.no_grad()
def test_hypercolumns_are_bit_equal_to_those_picked_from_all_maps(name: str, args: dict) -> None:
    """As they were picked before: by the sides of the maps that a network returned."""
    backbone = load_backbone(f"random:{name}", img_size=64, **args)
    pixels = torch.randint(0, 255, (3, 64, 96), dtype=torch.uint8)
    maps = backbone.encoder.backbone.forward_intermediates(
        backbone.standardize(pixels[None]), intermediates_only=True, output_fmt="NCHW"
    )
    by_side = {m.shape[-1]: m for m in maps if 4 * m.shape[-1] <= 96}
    chosen = list(by_side.values())
    if len(chosen) == 1:
        chosen = [maps[(i + 1) * len(maps) // 4 - 1] for i in range(4)]
    grid = chosen[0].shape[-2:]
    expected = torch.cat(
        [F.interpolate(m.float(), grid, mode="bilinear", align_corners=False) for m in chosen],
        dim=1,
    )[0]
    assert torch.equal(hypercolumns(backbone, pixels), expected)
