"""Towers, read-outs, building and folders of a CLIP."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

open_clip = pytest.importorskip("open_clip", reason="extra vision-language is not installed")

from cmid.console import TrainingWarning  # noqa: E402
from cmid.export import to_timm  # noqa: E402
from cmid.models import MaskedEncoder  # noqa: E402
from cmid.vision_language.clip.building import build_clip  # noqa: E402
from cmid.vision_language.clip.config import DENSE_MODES, CLIPConfig  # noqa: E402
from cmid.vision_language.clip.dense_attention import LastBlock, attend  # noqa: E402
from cmid.vision_language.clip.model import CLIP, interpolate  # noqa: E402
from cmid.vision_language.clip.storage import load_clip, save_clip  # noqa: E402
from cmid.vision_language.clip.text_tower import lengthen, stretch_positions  # noqa: E402


def images(size: int, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8)


def test_vanilla_attention_equals_multihead_attention() -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(24, 3, batch_first=True)
    tokens = torch.randn(2, 5, 24)
    projected = F.linear(tokens, attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = projected.unflatten(-1, (3, 3, 8)).permute(2, 0, 3, 1, 4)
    mixed = attend(query, key, value, "vanilla").transpose(1, 2).flatten(2)
    expected = attention(tokens, tokens, tokens, need_weights=False)[0]
    torch.testing.assert_close(attention.out_proj(mixed), expected)


def test_modes_add_the_maps_that_they_name() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 1, 2, 4, 8)

    def by_hand(*maps: Tensor) -> Tensor:
        return sum(((m @ m.mT) / math.sqrt(8)).softmax(-1) for m in maps) @ v  # type: ignore[operator]

    torch.testing.assert_close(attend(q, k, v, "maskclip"), v)
    torch.testing.assert_close(attend(q, k, v, "clearclip"), by_hand(q))
    torch.testing.assert_close(attend(q, k, v, "sclip"), by_hand(q, k))
    torch.testing.assert_close(attend(q, k, v, "segearth"), by_hand(q, k, v))
    torch.testing.assert_close(attend(q, k, v, "maskclip_published"), v)
    torch.testing.assert_close(attend(q, k, v, "sclip_published"), by_hand(q, k))
    with pytest.raises(ValueError, match="none of vanilla"):
        attend(q, k, v, "plain")  # type: ignore[arg-type]


@pytest.mark.parametrize("of", ["open_clip", "timm"])
def test_the_last_block_is_read_as_the_formula_says(of: str, tiny_clip: str) -> None:
    if of == "open_clip":
        block: Any = build_clip(CLIPConfig(tiny_clip)).image.visual.transformer.resblocks[-1]  # type: ignore[union-attr]
        norm, out = block.ln_1, block.attn.out_proj
        weight, bias = block.attn.in_proj_weight, block.attn.in_proj_bias
    else:
        block = MaskedEncoder("vit_tiny_patch16_224", img_size=32, depth=1).backbone.blocks[0]
        norm, out = block.norm1, block.attn.proj
        weight, bias = block.attn.qkv.weight, block.attn.qkv.bias
    block.eval()
    width, heads = weight.shape[1], block.attn.num_heads
    reader = LastBlock(block)
    tokens = torch.randn(2, 5, width)
    left = block(tokens)
    torch.testing.assert_close(reader.read("vanilla"), left)
    block(tokens)
    q, k, v = F.linear(norm(tokens), weight, bias).split(width, dim=-1)
    parts = []
    for head in torch.arange(width).split(width // heads):
        weights = sum(
            (x[..., head] @ x[..., head].mT / math.sqrt(width // heads)).softmax(-1)
            for x in (q, k, v)
        )
        parts.append(weights @ v[..., head])
    torch.testing.assert_close(reader.read("segearth"), out(torch.cat(parts, dim=-1)))
    with pytest.raises(RuntimeError, match="has not run"):
        reader.read("segearth")


def split_heads(tokens: Tensor, heads: int) -> list[Tensor]:
    return [*tokens.split(tokens.shape[-1] // heads, dim=-1)]


@pytest.mark.parametrize("of", ["open_clip", "timm"])
@pytest.mark.parametrize("name", ["maskclip", "sclip"])
def test_published_modes_keep_residual_and_mlp_and_the_others_do_not(
    of: str, name: str, tiny_clip: str
) -> None:
    if of == "open_clip":
        block: Any = build_clip(CLIPConfig(tiny_clip)).image.visual.transformer.resblocks[-1]  # type: ignore[union-attr]
        norms, attention, out = (block.ln_1, block.ln_2), block.attn, block.attn.out_proj
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        first, second = block.mlp.c_fc, block.mlp.c_proj
    else:
        encoder = MaskedEncoder("vit_tiny_patch16_224", img_size=32, depth=1)
        block = encoder.backbone.blocks[0]
        norms, attention, out = (block.norm1, block.norm2), block.attn, block.attn.proj
        weight, bias = attention.qkv.weight, attention.qkv.bias
        first, second = block.mlp.fc1, block.mlp.fc2
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.1)
    block.eval()
    tokens = torch.randn(2, 5, weight.shape[1])
    q, k, v = F.linear(norms[0](tokens), weight, bias).chunk(3, dim=-1)
    heads = attention.num_heads
    if name == "maskclip":
        mixed = out(v)
    else:
        scale = (weight.shape[1] // heads) ** -0.5
        parts = [
            ((a @ a.mT * scale).softmax(-1) + (b @ b.mT * scale).softmax(-1)) @ c
            for a, b, c in zip(*(split_heads(x, heads) for x in (q, k, v)), strict=True)
        ]
        mixed = out(torch.cat(parts, dim=-1))
    whole = tokens + mixed
    whole = whole + second(F.gelu(first(norms[1](whole))))
    reader = LastBlock(block)
    for mode, expected in ((name, mixed), (f"{name}_published", whole)):
        block(tokens)
        torch.testing.assert_close(reader.read(mode), expected, atol=1e-5, rtol=1e-4)  # type: ignore[arg-type]


def test_blocks_that_norm_behind_the_attention_are_refused() -> None:
    block = MaskedEncoder("vit_tiny_patch16_224", img_size=32, depth=1).backbone.blocks[0]
    assert LastBlock(block).of_timm
    from timm.models.vision_transformer import ResPostBlock

    with pytest.raises(ValueError, match="ResPostBlock is no plain transformer block"):
        LastBlock(ResPostBlock(dim=12, num_heads=2))


@pytest.mark.parametrize("mode", DENSE_MODES)
def test_reading_patches_leaves_the_pooled_feature_as_open_clip_has_it(
    mode: Any, tiny_clip: str
) -> None:
    clip = build_clip(CLIPConfig(tiny_clip, dense_mode=mode)).eval()
    pooled, dense = clip.encode_images(images(32))
    assert dense.shape == (2, 32, 4, 4)
    visual = clip.image.visual
    torch.testing.assert_close(pooled, visual(clip.image.standardize(images(32))))  # type: ignore[operator]
    dense.sum().backward()
    assert visual.conv1.weight.grad.abs().sum() > 0  # type: ignore[union-attr]


BACKBONES = [
    "random:resnet18",
    "random:vit_tiny_patch16_224",
    "random:swin_tiny_patch4_window7_224",
]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_backbones_give_dense_and_pooled_features(backbone: str, tiny_clip: str) -> None:
    clip = build_clip(CLIPConfig(tiny_clip, backbone=backbone, dense_mode="vanilla")).eval()
    pooled, dense = clip.encode_images(images(clip.size))
    assert pooled.shape == (2, 32)
    # Linear behind an average: the mean over cells is the pooled feature.
    torch.testing.assert_close(dense.mean(dim=(2, 3)), pooled, atol=1e-4, rtol=1e-3)


def test_exported_backbone_is_the_image_tower(tmp_path: Path, tiny_clip: str) -> None:
    torch.manual_seed(1)
    statistics = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]}
    encoder = MaskedEncoder("resnet18", img_size=64, output_stride=16).eval()
    export = to_timm(encoder, tmp_path / "export", statistics=statistics)
    clip = build_clip(CLIPConfig(tiny_clip, backbone=str(export))).eval()
    assert clip.size == 64
    assert clip.image.statistics.std == (0.5, 0.6, 0.7)
    pooled, dense = clip.encode_images(images(64))
    assert dense.shape[-2:] == (4, 4)  # stride 16, as it was pretrained
    expected = encoder.pooled(clip.image.standardize(images(64)))
    torch.testing.assert_close(pooled, clip.image.head(expected))  # type: ignore[operator]
    again = load_clip(save_clip(clip, tmp_path / "clip"))
    torch.testing.assert_close(again.encode_images(images(64)).dense, dense)


@pytest.mark.parametrize("backbone", [None, "random:resnet18"])
def test_a_saved_clip_loads_here_and_in_open_clip(
    backbone: str | None, tiny_clip: str, tmp_path: Path
) -> None:
    clip = build_clip(CLIPConfig(tiny_clip, backbone=backbone, dense_mode="sclip")).eval()
    folder = save_clip(clip, tmp_path / "clip", provenance={"method": "none"})
    again = load_clip(folder)
    assert again.digest == clip.digest
    assert again.image.dense_mode == "sclip"
    for ours, theirs in zip(
        clip.encode_images(images(clip.size)), again.encode_images(images(clip.size)), strict=True
    ):
        torch.testing.assert_close(theirs, ours)
    texts = ["a ship", "two planes"]
    torch.testing.assert_close(again.encode_texts(texts), clip.encode_texts(texts))
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(texts)
    torch.testing.assert_close(model.encode_text(tokens), clip.encode_texts(texts))
    standardized = clip.image.standardize(images(clip.size))
    torch.testing.assert_close(
        model.encode_image(standardized), clip.encode_images(images(clip.size)).pooled
    )
    assert sorted(p.name for p in folder.iterdir()) == [
        "open_clip_config.json",
        "open_clip_model.safetensors",
    ]


@pytest.mark.parametrize("backbone", [None, "random:vit_tiny_patch16_224"])
def test_another_dense_mode_can_be_asked_of_a_folder(
    backbone: str | None, tiny_clip: str, tmp_path: Path
) -> None:
    clip = build_clip(CLIPConfig(tiny_clip, backbone=backbone, dense_mode="vanilla")).eval()
    folder = save_clip(clip, tmp_path / "clip")
    pixels = images(clip.size)
    vanilla = clip.encode_images(pixels).dense
    torch.testing.assert_close(load_clip(folder).encode_images(pixels).dense, vanilla)
    other = load_clip(folder, dense_mode="segearth").encode_images(pixels).dense
    assert not torch.allclose(other, vanilla, atol=1e-3)


def test_weights_of_a_file_are_loaded_by_open_clip(tiny_clip: str, tmp_path: Path) -> None:
    clip = build_clip(CLIPConfig(tiny_clip)).eval()
    folder = save_clip(clip, tmp_path / "clip")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = load_clip(f"{tiny_clip}:{folder / 'open_clip_model.safetensors'}")
    torch.testing.assert_close(
        again.encode_images(images(32)).dense, clip.encode_images(images(32)).dense
    )


def test_a_name_without_weights_is_said_to_have_random_ones(tiny_clip: str) -> None:
    with pytest.warns(TrainingWarning, match=r"tiny_clip\.json has random weights"):
        load_clip(tiny_clip)


def test_resnet_of_open_clip_has_dense_features() -> None:
    clip = load_clip("RN50")
    pooled, dense = clip.encode_images(images(224, 1))
    assert pooled.shape == (1, 1024)
    assert dense.shape == (1, 1024, 7, 7)
    assert (dense[0, :, 0, 0] - dense[0, :, 6, 6]).abs().max() > 1e-4


def test_stretched_positions() -> None:
    positions = torch.randn(77, 8)
    long = stretch_positions(positions, 248)
    torch.testing.assert_close(long[:20], positions[:20])
    torch.testing.assert_close(long[20::4], positions[20:])
    torch.testing.assert_close(long[22], (positions[20] + positions[21]) / 2)
    slope = (positions[76] - positions[75]) / 4
    torch.testing.assert_close(long[247], positions[76] + 3 * slope)
    with pytest.raises(ValueError, match=r"context_length 200 does not fit.*191.*248"):
        stretch_positions(positions, 200)


def test_leaving_out_padding_changes_nothing(tiny_clip: str) -> None:
    text = build_clip(CLIPConfig(tiny_clip)).eval().text
    texts = ["a ship", "many planes are parked beside the terminal of an airport"]
    torch.testing.assert_close(text(texts), text.module(text.tokenizer(texts, context_length=77)))
    assert text.module.attn_mask.shape == (77, 77)


def test_short_texts_keep_their_embedding_and_long_ones_are_read_to_their_end(
    tiny_clip: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    clip = build_clip(CLIPConfig(tiny_clip)).eval()
    short = ["a ship", "many planes are parked beside the terminal of an airport"]
    long = "an aerial image of " + " ".join(f"{n} houses and" for n in range(60))
    before = clip.encode_texts(short)
    assert torch.equal(clip.encode_texts([long]), clip.encode_texts([long + " a river"]))
    lengthen(clip.text.module, 248)
    torch.testing.assert_close(clip.encode_texts(short), before)
    assert not torch.equal(clip.encode_texts([long]), clip.encode_texts([long + " a river"]))
    clip.encode_texts([long]).sum().backward()
    gradient = clip.text.module.positional_embedding.grad
    assert gradient[:20].abs().max() == 0  # the first positions are frozen
    assert gradient[20:].abs().max() > 0
    stretched = build_clip(CLIPConfig(tiny_clip, context_length=248)).eval()
    again = load_clip(save_clip(stretched, tmp_path / "clip"))
    assert again.text.context_length == 248
    torch.testing.assert_close(again.encode_texts([long]), stretched.encode_texts([long]))


def test_interpolation_reaches_both_ends(tiny_clip: str) -> None:
    def model(seed: int) -> CLIP:
        torch.manual_seed(seed)
        return build_clip(CLIPConfig(tiny_clip)).eval()

    name = "image.visual.conv1.weight"
    start, tuned = model(0).state_dict()[name], model(1).state_dict()[name]
    for alpha in (0.0, 0.25, 1.0):
        mixed = interpolate(model(0), model(1), alpha).state_dict()[name]
        torch.testing.assert_close(mixed, (1 - alpha) * start + alpha * tuned)
    with pytest.raises(ValueError, match="alpha 2"):
        interpolate(model(0), model(1), 2)


def test_errors_name_what_is_wrong(tiny_clip: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no model 'ViT-B-33'; did you mean ViT-B-32"):
        build_clip(CLIPConfig("ViT-B-33"))
    with pytest.raises(ValueError, match=r"no weights 'opeenai' for ViT-B-32.*openai"):
        build_clip(CLIPConfig("ViT-B-32", "opeenai"))
    with pytest.raises(FileNotFoundError, match=r"no weights nowhere\.safetensors"):
        build_clip(CLIPConfig("ViT-B-32", "nowhere.safetensors"))
    with pytest.raises(FileNotFoundError, match=r"no model configuration absent\.json"):
        build_clip(CLIPConfig("absent.json"))
    with pytest.raises(FileNotFoundError, match="no CLIP runs/absent"):
        load_clip("runs/absent")
    clip = build_clip(CLIPConfig(tiny_clip))
    with pytest.raises(ValueError, match="images of 48x48 pixels, the image tower takes 32x32"):
        clip.encode_images(images(48))
    folder = save_clip(clip, tmp_path / "clip")
    weights = folder / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8] + b"\0" * 8)
    with pytest.raises(ValueError, match="is damaged"):
        load_clip(folder)
