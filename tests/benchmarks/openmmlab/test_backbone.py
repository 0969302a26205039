from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")

from mmengine.model import BaseModel

from benchmarks.openmmlab import CMIDBackbone
from cmid.checkpoints import load_backbone
from cmid.export import to_timm
from cmid.models import MaskedEncoder

FAMILIES = {
    "resnet18": (64, 128, 256, 512),
    "swin_tiny_patch4_window7_224": (96, 192, 384, 768),
    "convnext_atto": (40, 80, 160, 320),
    "vit_tiny_patch16_224": (192, 192, 192, 192),
}


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_gives_a_pyramid_of_any_size(name: str, images: torch.Tensor) -> None:
    backbone = CMIDBackbone(f"random:{name}", img_size=64)
    maps = backbone(images)
    assert backbone.out_channels == FAMILIES[name]
    assert backbone.strides == (4, 8, 16, 32)
    for features, width, stride in zip(maps, FAMILIES[name], backbone.strides, strict=True):
        assert features.shape == (2, width, 96 // stride, 128 // stride)
    sum(features.sum() for features in maps).backward()
    without = [n for n, p in backbone.named_parameters() if p.grad is None]
    assert not without  # DDP refuses parameters that take no part


@pytest.mark.parametrize(
    "name", ["resnet18", "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"]
)
def test_the_last_stage_is_the_encoders_output(name: str, images: torch.Tensor) -> None:
    backbone = CMIDBackbone(f"random:{name}", img_size=64, out_indices=(3,)).eval()
    encoder = load_backbone(f"random:{name}", img_size=64).encoder
    with torch.no_grad():
        (last,) = backbone(images)
        torch.testing.assert_close(last, encoder(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224"])
def test_initialisation_by_mmengine_keeps_what_was_loaded(name: str, tmp_path: Path) -> None:
    encoder = MaskedEncoder(name, img_size=64)
    with torch.no_grad():
        for parameter in encoder.backbone.parameters():
            parameter.add_(0.5)
    to_timm(encoder, tmp_path / "export")

    class Model(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = CMIDBackbone(str(tmp_path / "export"))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.backbone(inputs)[-1]

    model = Model()
    model.init_weights()
    loaded = model.backbone.network.state_dict()
    expected = encoder.backbone.state_dict()
    assert set(expected) - set(loaded) <= {"norm.weight", "norm.bias"}
    for key, value in loaded.items():
        torch.testing.assert_close(value, expected[key])


def test_frozen_stages_do_not_move() -> None:
    backbone = CMIDBackbone("random:resnet18", img_size=64, frozen_stages=1).train()
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=0.1)
    sum(f.square().mean() for f in backbone(torch.rand(4, 3, 64, 64))).backward()
    optimizer.step()
    moved = {k for k, v in backbone.state_dict().items() if not torch.equal(v, before[k])}
    stem = ("network.conv1", "network.bn1", "network.layer1")
    assert not [k for k in moved if k.startswith(stem)]
    assert {"network.layer2.0.downsample.0.weight", "network.layer2.0.bn1.running_mean"} <= moved


def test_frozen_blocks_drop_no_paths() -> None:
    backbone = CMIDBackbone(
        "random:vit_tiny_patch16_224", img_size=64, frozen_stages=2, drop_path_rate=0.5
    ).train()
    modes = [block.training for block in backbone.network.blocks]
    assert modes == [False] * 6 + [True] * 6
    assert not backbone.network.pos_embed.requires_grad
    assert backbone.network.blocks[6].attn.qkv.weight.requires_grad
    assert not any(p.requires_grad for p in backbone.network.blocks[5].parameters())
    images = torch.rand(1, 3, 64, 64)
    assert not torch.equal(backbone(images)[3], backbone(images)[3])
    with pytest.raises(ValueError, match="frozen_stages must be -1 to 4: 5"):
        CMIDBackbone("random:resnet18", frozen_stages=5)


@pytest.mark.parametrize("name", FAMILIES)
def test_sizes_that_no_stride_divides_are_rounded_up(name: str) -> None:
    backbone = CMIDBackbone(f"random:{name}", img_size=64).eval()
    images = torch.rand(1, 3, 75, 97)
    with torch.no_grad():
        maps = backbone(images)
    shapes = [tuple(features.shape[-2:]) for features in maps]
    # ResNet rounds up at every stage, the others pad the image to 96 x 128 first.
    expected = [(19, 25), (10, 13), (5, 7), (3, 4)]
    padded = [(24, 32), (12, 16), (6, 8), (3, 4)]
    assert shapes == (expected if name == "resnet18" else padded)


def test_strides_are_those_that_necks_expect(tmp_path: Path) -> None:
    encoder = MaskedEncoder("resnet18", img_size=64, output_stride=16)
    export = str(to_timm(encoder, tmp_path / "export"))
    images = torch.rand(1, 3, 64, 64)
    backbone, fine = (CMIDBackbone(export, output_stride=stride).eval() for stride in (32, None))
    assert CMIDBackbone(export, output_stride=16).strides == fine.strides
    assert CMIDBackbone(export).strides == backbone.strides  # unless it is asked for
    assert (backbone.strides, fine.strides) == ((4, 8, 16, 32), (4, 8, 16, 16))
    assert backbone(images)[3].shape[-2:] == (2, 2)
    with torch.no_grad():
        torch.testing.assert_close(fine(images)[3], encoder.eval()(images))
    for key, value in encoder.backbone.state_dict().items():
        assert torch.equal(backbone.network.state_dict()[key], value)


def test_swins_windows_shift_where_maps_are_wider_than_a_window(tmp_path: Path) -> None:
    encoder = MaskedEncoder(
        "swin_tiny_patch4_window7_224", img_size=64, embed_dim=24, depths=(2, 2, 2, 2)
    )
    export = str(to_timm(encoder, tmp_path / "export"))
    images = torch.rand(1, 3, 256, 256)
    for size, windows, shift in ((None, [7, 7, 4, 2], 0), (256, [7, 7, 7, 7], 3)):
        backbone = CMIDBackbone(export, img_size=size)
        blocks = [stage.blocks[1] for stage in backbone.network.layers]
        assert [block.window_size[0] for block in blocks] == windows
        assert blocks[3].shift_size == (shift, shift)
        assert blocks[1].shift_size == (3, 3)
        assert backbone(images)[3].shape[-2:] == (8, 8)


def test_norm_eval_keeps_running_statistics() -> None:
    backbone = CMIDBackbone("random:resnet18", img_size=64, norm_eval=True).train()
    before = backbone.network.bn1.running_mean.clone()
    backbone(torch.rand(4, 3, 64, 64))
    assert torch.equal(backbone.network.bn1.running_mean, before)
    assert backbone.network.conv1.weight.requires_grad


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    statistics = {"mean": [0.5] * 4, "std": [0.2] * 4}
    encoder = MaskedEncoder("resnet18", img_size=64, in_chans=4)
    to_timm(encoder, tmp_path / "export", statistics=statistics)
    with pytest.raises(ValueError, match="reads 4 bands, in_channels is 3"):
        CMIDBackbone(str(tmp_path / "export"))
    assert CMIDBackbone(str(tmp_path / "export"), in_channels=4)(torch.rand(1, 4, 64, 64))
    with pytest.raises(ValueError, match="out_indices must be ascending"):
        CMIDBackbone("random:resnet18", out_indices=(3, 4))
    with pytest.raises(FileNotFoundError, match="no backbone"):
        CMIDBackbone(str(tmp_path / "nothing"))


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_stages_and_their_names_are_those_of_earlier_checkpoints(
    name: str, images: torch.Tensor
) -> None:
    """As they were picked before: by place in timm's list of levels."""
    backbone = CMIDBackbone(f"random:{name}", img_size=64).eval()
    network = load_backbone(f"random:{name}", img_size=64).encoder.backbone
    info = network.feature_info
    plain = len({entry["reduction"] for entry in info}) == 1
    ends = [len(info) * (i + 1) // 4 - 1 for i in range(4)]
    take = ends if plain else list(range(len(info)))[-4:]
    network.prune_intermediate_layers(take, prune_norm=True, prune_head=True)
    maps = network.forward_intermediates(images, indices=take, intermediates_only=True)
    maps = [norm(m) for norm, m in zip(backbone.norms, maps, strict=True)]
    if plain:
        maps = [scale(m) for scale, m in zip(backbone.pyramid, maps, strict=True)]
    assert all(torch.equal(a, b) for a, b in zip(backbone(images), maps, strict=True))
    names = [key.partition(".") for key in backbone.state_dict()]
    assert {first for first, *_ in names} <= {"network", "norms", "pyramid"}
    own = {rest for first, _, rest in names if first == "network"}
    assert own == network.state_dict().keys()
