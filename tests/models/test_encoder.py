"""The masked encoder: the same contract for every family of backbones."""

from __future__ import annotations

import copy
import pickle
from functools import cache

import pytest
import timm
import torch

from cmid.models import MaskedEncoder

# name, size of the test image, arguments
FAMILIES = {
    "resnet": ("resnet18", 64, {}),
    "convnext": ("convnext_atto", 64, {}),
    "swin": ("swin_tiny_patch4_window7_224", 64, {"img_size": 64, "depths": (1, 1, 2, 1)}),
    "swinv2": ("swinv2_tiny_window8_256", 64, {"img_size": 64, "depths": (1, 1, 2, 1)}),
    "vit": ("vit_tiny_patch16_224", 64, {"img_size": 64, "depth": 3}),
    "deit": ("deit_tiny_patch16_224", 64, {"depth": 3}),
    "vit_without_class_token": (
        "vit_tiny_patch16_224",
        64,
        {"img_size": 64, "depth": 2, "class_token": False, "reg_tokens": 2},
    ),
}


@cache
def _built(family: str) -> MaskedEncoder:
    name, _, kwargs = FAMILIES[family]
    torch.manual_seed(0)
    return MaskedEncoder(name, **kwargs)


@pytest.fixture(params=FAMILIES)
def encoder(request: pytest.FixtureRequest) -> MaskedEncoder:
    return copy.deepcopy(_built(request.param)).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def _stem_output(encoder: MaskedEncoder, images: torch.Tensor, mask) -> torch.Tensor:
    """Output of the stem as ``(B, D, gh, gw)``, as the rest of the backbone sees it."""
    seen = []
    stem = encoder.backbone.get_submodule(encoder.stem_name)
    handle = stem.register_forward_hook(lambda m, a, output: seen.append(output))
    encoder(images, mask)
    handle.remove()
    (output,) = seen
    grid = (images.shape[-2] // encoder.stem_stride, images.shape[-1] // encoder.stem_stride)
    if output.ndim == 3:
        return output.transpose(1, 2).unflatten(2, grid)
    return output if output.shape[1] == encoder.stem_width else output.permute(0, 3, 1, 2)


def test_dense_output_has_the_announced_shape(encoder, images):
    side = 64 // encoder.stride
    assert encoder(images).shape == (2, encoder.embed_dim, side, side)


def test_dense_output_agrees_with_timms_own_feature_map(encoder, images):
    expected = encoder.backbone.forward_intermediates(
        images, indices=1, norm=encoder.stem_stride == 16, intermediates_only=True
    )[0]
    got = encoder(images)
    if encoder.name.startswith("swin"):  # timm's intermediates are taken before the last norm
        expected = encoder.backbone.norm(expected.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(got, expected)


def test_pooled_is_timms_forward_and_pool_of_the_dense_output(encoder, images):
    expected = encoder.backbone(images)
    torch.testing.assert_close(encoder.pooled(images), expected)
    torch.testing.assert_close(encoder.pool(encoder(images)), expected)
    assert expected.shape == (2, encoder.pooled_dim)


def test_pooled_is_the_mean_over_cells_where_no_norm_follows(encoder, images):
    mean = encoder(images).mean(dim=(2, 3))
    if encoder.name.startswith("convnext"):
        mean = encoder.backbone.head.norm(mean[..., None, None]).flatten(1)
    torch.testing.assert_close(encoder.pooled(images), mean)


def test_every_parameter_of_the_backbone_receives_a_gradient(encoder, images):
    encoder.train()
    dense = encoder(images, torch.ones(2, 2, 2))
    (dense.square().mean() + encoder.pool(dense).square().mean()).backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None] == []


def test_any_multiple_of_the_stride_is_an_image_size(encoder):
    shape = (6 * encoder.stride, 3 * encoder.stride)
    dense = encoder(torch.rand(1, 3, *shape), torch.ones(1, 2, 1))
    assert dense.shape[-2:] == (6, 3)


@pytest.mark.parametrize("family", FAMILIES)
def test_state_dict_is_timms(family):
    name, _, kwargs = FAMILIES[family]
    expected = timm.create_model(name, num_classes=0, **kwargs_without_pooling(kwargs)).state_dict()
    state = _built(family).backbone.state_dict()
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in expected.items()}


def kwargs_without_pooling(kwargs):
    # timm itself refuses its default pooling, by class token, where there is none.
    extra = {"global_pool": "avg", "fc_norm": False} if "class_token" in kwargs else {}
    return kwargs | extra


@pytest.mark.parametrize("mode", ["add", "replace"])
def test_an_empty_mask_is_no_mask(encoder, images, mode):
    encoder._hook.mask_mode = mode
    torch.nn.init.normal_(encoder.mask_token)
    empty = torch.zeros(2, 2, 2, dtype=torch.bool)
    torch.testing.assert_close(encoder(images, empty), encoder(images), rtol=0, atol=0)


def test_a_zero_token_that_is_added_changes_nothing(encoder, images):
    full = torch.ones(2, 2, 2, dtype=torch.bool)
    torch.testing.assert_close(encoder(images, full), encoder(images), rtol=0, atol=0)


@pytest.mark.parametrize("mode", ["add", "replace"])
def test_the_mask_reaches_exactly_its_cells(encoder, images, mode):
    encoder._hook.mask_mode = mode
    torch.nn.init.normal_(encoder.mask_token)
    mask = torch.tensor([[[1, 0], [0, 0]], [[0, 1], [1, 0]]]).bool()
    cells = 64 // encoder.stem_stride // 2
    fine = mask.repeat_interleave(cells, 1).repeat_interleave(cells, 2)[:, None]

    plain, masked = (_stem_output(encoder, images, m) for m in (None, mask))
    token = encoder.mask_token.view(1, -1, 1, 1)
    expected = torch.where(fine, token if mode == "replace" else plain + token, plain)
    torch.testing.assert_close(masked, expected)


def test_a_token_that_is_added_keeps_the_picture_below(encoder, images):
    torch.nn.init.normal_(encoder.mask_token)
    full = torch.ones(2, 2, 2)
    other = images.flip(0)
    assert not torch.equal(encoder(images, full), encoder(other, full))
    encoder._hook.mask_mode = "replace"
    torch.testing.assert_close(encoder(images, full), encoder(other, full))


def test_the_token_receives_a_gradient(encoder, images):
    encoder(images, torch.ones(2, 2, 2)).square().mean().backward()
    assert encoder.mask_token.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "clone", [copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))], ids=["deepcopy", "pickle"]
)
def test_a_copy_masks_with_its_own_token(encoder, images, clone):
    twin = clone(encoder)
    torch.nn.init.normal_(twin.mask_token)
    full = torch.ones(2, 2, 2)
    torch.testing.assert_close(encoder(images, full), encoder(images))
    torch.testing.assert_close(twin(images), encoder(images))
    assert not torch.allclose(twin(images, full), encoder(images, full))


def test_an_error_inside_the_backbone_leaves_no_mask_behind(encoder, images):
    torch.nn.init.normal_(encoder.mask_token)
    before = encoder(images)
    with pytest.raises(RuntimeError):
        encoder(torch.rand(2, 5, 64, 64), torch.ones(2, 2, 2))
    torch.testing.assert_close(encoder(images), before)


def test_gradient_checkpointing_gives_the_same_gradient(encoder, images):
    torch.nn.init.normal_(encoder.mask_token)
    encoder.train()
    gradients = []
    for enable in (False, True):
        twin = copy.deepcopy(encoder)
        twin.set_grad_checkpointing(enable)
        twin(images, torch.ones(2, 2, 2)).square().mean().backward()
        gradients.append(twin.mask_token.grad)
    torch.testing.assert_close(*gradients)


def test_compiles_without_a_graph_break(images):
    encoder = copy.deepcopy(_built("resnet")).eval()
    torch.nn.init.normal_(encoder.mask_token)
    compiled = torch.compile(encoder, backend="eager", fullgraph=True)
    mask = torch.tensor([[[1, 0], [0, 0]], [[0, 1], [1, 0]]]).bool()
    torch.testing.assert_close(compiled(images, mask), encoder(images, mask))
    torch.testing.assert_close(compiled(images), encoder(images))


def test_the_token_follows_the_dtype_of_autocast(images):
    encoder = copy.deepcopy(_built("vit")).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert _stem_output(encoder, images, torch.ones(2, 2, 2)).dtype == torch.bfloat16


def test_building_leaves_the_random_state_and_batchnorm_alone():
    torch.manual_seed(3)
    timm.create_model("resnet18", num_classes=0)
    expected = torch.rand(1)
    torch.manual_seed(3)
    encoder = MaskedEncoder("resnet18")
    assert torch.equal(torch.rand(1), expected)
    assert encoder.training
    assert encoder.backbone.training
    assert encoder.backbone.bn1.num_batches_tracked == 0


def test_more_than_three_channels():
    encoder = MaskedEncoder("resnet18", in_chans=5)
    assert encoder(torch.rand(2, 5, 32, 32)).shape == (2, 512, 1, 1)


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("resnet5O", {}, "did you mean resnet50"),
        ("qwxyz", {}, "timm has no model 'qwxyz'$"),
        ("resnet18", {"mask_mode": "multiply"}, "'add' or 'replace'"),
        ("resnet18", {"stem": "fc"}, "name it with `stem`"),
        ("resnet18", {"depth": 3}, "timm cannot build resnet18 with .* null has none"),
        ("resnet18", {"norm_layer": "nope"}, "timm cannot build .* 'nope'; .* null has none"),
        ("resnet18", {"output_stride": 5}, "output_stride=5: not one of the values .* null has"),
        ("resnet18", {"layers": [1, 1]}, r"layers=\[1, 1\]: .*'layer3'.* null has none"),
        ("test_resnet", {"norm_layer": "groupnorm"}, "must be divisible by .* null has none"),
        ("dla46x_c", {}, "no known stem in dla46x_c; name its last module with `stem`"),
        ("deit_tiny_distilled_patch16_224", {}, "averaging its cells"),
    ],
)
def test_what_cannot_be_built_says_so_in_one_line(name, kwargs, message):
    with pytest.raises(ValueError, match=message) as caught:
        MaskedEncoder(name, **kwargs)
    assert "\n" not in str(caught.value)


def test_a_stem_that_is_not_found_is_named_by_the_user():
    encoder = MaskedEncoder("dla46x_c", stem="level1")
    torch.nn.init.normal_(encoder.mask_token)
    images = torch.rand(1, 3, 64, 64)
    encoder.eval()
    assert not torch.allclose(encoder(images, torch.ones(1, 2, 2)), encoder(images))


@pytest.mark.parametrize(
    ("size", "mask", "message"),
    [
        (
            (64, 64),
            (2, 3, 3),
            "3x3 blocks does not divide the stem's 16x16 cells: .* of 4 pix",
        ),
        ((64, 64), (1, 2, 2), r"\(1, 2, 2\) is not \(2, rows, columns\)"),
        ((64, 72), (2, 2, 2), "64x72 is not a multiple of the stride 32 of resnet18"),
    ],
)
def test_sizes_that_do_not_divide_are_named(size, mask, message):
    with pytest.raises(ValueError, match=message):
        _built("resnet")(torch.rand(2, 3, *size), torch.ones(mask))
