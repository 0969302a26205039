from __future__ import annotations

from typing import Any

import pytest
import torch

pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")

from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

import benchmarks.change_detection  # noqa: F401
from benchmarks.change_detection.bit import Attention, BitemporalTransformer

HEAD = {
    "type": "BITHead",
    "in_channels": [8, 16],
    "in_index": [0, 1],
    "channels": 16,
    "transformer": {"decoder_depth": 2},
    "num_classes": 2,
    "out_channels": 2,
    "dropout_ratio": 0.0,
    "norm_cfg": {"type": "BN"},
    "loss_decode": [
        {"type": "CrossEntropyLoss", "avg_non_ignore": True},
        {"type": "BatchDiceLoss"},
    ],
}


@pytest.fixture(autouse=True)
def _scope() -> None:
    init_default_scope("mmseg")


def pairs(batch: int = 2) -> list[torch.Tensor]:
    return [torch.rand(batch, 2, 8, 8, 12), torch.rand(batch, 2, 16, 4, 6)]


def labels(*shape: int) -> list[SegDataSample]:
    truth = torch.randint(0, 2, shape)
    return [SegDataSample(gt_sem_seg=PixelData(data=label[None])) for label in truth]


def test_attention_is_torchs_where_heads_share_out_the_channels() -> None:
    ours = Attention(32, heads=8, head_channels=4)
    torchs = torch.nn.MultiheadAttention(32, 8, batch_first=True)
    with torch.no_grad():
        stacked = torch.cat([ours.query.weight, ours.key.weight, ours.value.weight])
        torchs.in_proj_weight.copy_(stacked)
        torchs.in_proj_bias.zero_()
        torchs.out_proj.load_state_dict(ours.out.state_dict())
    queries, context = torch.rand(2, 5, 32), torch.rand(2, 3, 32)
    expected, _ = torchs(queries, context, context)
    torch.testing.assert_close(ours(queries, context), expected)
    assert Attention(32, heads=8, head_channels=8).out.in_features == 64


def test_the_head_has_the_images_size_and_every_parameter_learns() -> None:
    head = MODELS.build(HEAD)
    logits = head(pairs())
    assert logits.shape == (2, 2, 32, 48)
    losses = head.loss(pairs(), labels(2, 32, 48), {})
    (losses["loss_ce"] + losses["loss_dice"]).backward()
    assert not [name for name, p in head.named_parameters() if p.grad is None]
    assert not [name for name, p in head.named_parameters() if not p.grad.isfinite().all()]


def test_the_spec_s_size_is_the_default() -> None:
    transformer = BitemporalTransformer()
    assert transformer.tokenizer.out_channels == 4
    assert transformer.position.shape == (1, 8, 32)
    assert (len(transformer.encoder), len(transformer.decoder)) == (1, 8)


def test_the_transformer_s_gradient_is_right() -> None:
    transformer = BitemporalTransformer(4, tokens=2, decoder_depth=1, heads=2, head_channels=3)
    pair = torch.rand(1, 2, 4, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(transformer.double(), (pair,))


def test_pixels_have_no_order() -> None:
    transformer = BitemporalTransformer(16)
    pair = torch.rand(1, 2, 16, 4, 6)
    order = torch.randperm(24)
    mixed = pair.flatten(3)[..., order].unflatten(3, (4, 6))
    expected = transformer(pair).flatten(3)[..., order].unflatten(3, (4, 6))
    torch.testing.assert_close(transformer(mixed), expected)


def test_dates_have_no_order_but_for_their_tokens_positions() -> None:
    head = MODELS.build(HEAD).eval()
    maps = pairs()
    swapped = [pair.flip(1) for pair in maps]
    with torch.no_grad():
        assert not torch.allclose(head(swapped), head(maps), atol=1e-6)
        position = head.transformer.position
        position[:, 4:] = position[:, :4]
        torch.testing.assert_close(head(swapped), head(maps))


def test_each_date_s_pixels_see_the_other_date() -> None:
    transformer = BitemporalTransformer(16)
    pair = torch.rand(1, 2, 16, 4, 6)
    other = pair.clone()
    other[:, 1] = torch.rand(1, 16, 4, 6)
    before, after = transformer(pair), transformer(other)
    assert not torch.allclose(before[:, 0], after[:, 0], atol=1e-6)


def test_unchanged_pairs_differ_nowhere() -> None:
    head = MODELS.build({**HEAD, "in_channels": [8], "in_index": [0]}).eval()
    head.transformer.position.data[:, 4:] = head.transformer.position.data[:, :4]
    date = torch.rand(1, 1, 8, 8, 12)
    logits = head([date.expand(-1, 2, -1, -1, -1)])
    assert logits[..., 2:-2, 2:-2].flatten(2).std(-1).max() < 1e-6  # apart from the padding


def siamese(**more: Any) -> Any:
    backbone = {"type": "CMIDBackbone", "name": "random:resnet18", "out_indices": (0, 1)}
    head = {**HEAD, "in_channels": [64, 128]}
    preprocessor = {"type": "PairDataPreprocessor", "mean": [1, 2, 3], "std": [4, 5, 6]}
    return MODELS.build(
        {
            "type": "SiameseEncoderDecoder",
            "data_preprocessor": preprocessor,
            "backbone": backbone,
            "decode_head": head,
            "train_cfg": {},
            "test_cfg": {"mode": "whole"},
            **more,
        }
    )


def test_both_dates_share_the_backbone() -> None:
    model = siamese().eval()
    first, second = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        maps = model.extract_feat(torch.cat([first, second], dim=1))
        for date, images in enumerate((first, second)):
            for pair, alone in zip(maps, model.backbone(images), strict=True):
                torch.testing.assert_close(pair[:, date], alone, atol=1e-5, rtol=1e-5)


def test_native_backbones_and_heads_of_one_image_take_differences() -> None:
    norm = {"type": "BN"}
    model = siamese(
        backbone={"type": "ResNet", "depth": 18, "norm_cfg": norm},
        neck={"type": "FeatureDifference"},
        decode_head={
            "type": "UPerHead",
            "in_channels": [64, 128, 256, 512],
            "in_index": [0, 1, 2, 3],
            "channels": 8,
            "num_classes": 2,
            "out_channels": 2,
            "norm_cfg": norm,
        },
    ).eval()
    first, second = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        logits = model(torch.cat([first, second], dim=1), mode="tensor")
        swapped = model(torch.cat([second, first], dim=1), mode="tensor")
    assert logits.shape == (2, 2, 16, 16)
    torch.testing.assert_close(logits, swapped)


def test_the_preprocessor_standardises_and_pads_both_dates() -> None:
    preprocessor = MODELS.build(
        {
            "type": "PairDataPreprocessor",
            "mean": [1.0, 2.0, 3.0],
            "std": [4.0, 5.0, 6.0],
            "bgr_to_rgb": True,
            "size": (8, 8),
            "test_cfg": {"size_divisor": 4},
        }
    )
    blue, green, red = 15.0, 12.0, 9.0
    pair = torch.tensor([blue, green, red, 15, 12, 9]).view(6, 1, 1).repeat(1, 6, 7)
    batch = {"inputs": [pair.clone()], "data_samples": labels(1, 6, 7)}
    result = preprocessor(batch, training=True)
    assert result["inputs"].shape == (1, 6, 8, 8)
    assert result["inputs"][0, :, 0, 0].tolist() == [2, 2, 2, 2, 2, 2]
    assert (result["inputs"][0, :, 6:] == 0).all()
    assert (result["data_samples"][0].gt_sem_seg.data[0, 6:] == 255).all()
    torch.testing.assert_close(batch["inputs"][0], pair)
    result = preprocessor({"inputs": [pair], "data_samples": labels(1, 6, 7)})
    assert result["inputs"].shape == (1, 6, 8, 8)
    with pytest.raises(ValueError, match=r"pairs have 8 bands, data_preprocessor\.mean 3 a date"):
        preprocessor({"inputs": [torch.rand(8, 4, 4)], "data_samples": labels(1, 4, 4)})
    with pytest.raises(ValueError, match="4 means and 4 deviations"):
        MODELS.build(
            {
                "type": "PairDataPreprocessor",
                "mean": [0] * 4,
                "std": [1] * 4,
                "bgr_to_rgb": True,
            }
        )


def test_dice_counts_labelled_pixels_of_the_batch() -> None:
    loss = MODELS.build({"type": "BatchDiceLoss", "loss_weight": 2.0})
    logits = torch.randn(3, 2, 4, 5, requires_grad=True)
    truth = torch.randint(0, 2, (3, 4, 5))
    truth[0] = 0  # without change, and without a Dice of its own
    truth[1, 0] = 255
    valid = truth != 255
    dice = []
    for index in (0, 1):
        p = logits.softmax(1)[:, index][valid]
        y = (truth == index)[valid].float()
        dice.append(2 * (p * y).sum() / (p.sum() + y.sum()))
    found = loss(logits, truth, ignore_index=255)
    torch.testing.assert_close(found, 2 * (1 - sum(dice) / 2))
    found.backward()
    assert (logits.grad[1, :, 0] == 0).all()
    assert (logits.grad[0] != 0).any()


def test_dice_of_a_batch_without_change_is_finite() -> None:
    loss = MODELS.build({"type": "BatchDiceLoss"})
    logits = torch.randn(2, 2, 4, 5, requires_grad=True)
    for truth in (torch.zeros(2, 4, 5, dtype=torch.long), torch.full((2, 4, 5), 255)):
        found = loss(logits, truth)
        found.backward()
        assert found.isfinite()
        assert logits.grad.isfinite().all()
