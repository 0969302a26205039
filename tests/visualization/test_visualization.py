from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cmid.models import MaskedEncoder, ReconstructionHead
from cmid.visualization.attention import (
    BlockAttention,
    _from_windows,
    _to_windows,
    attention_figure,
    attention_of_blocks,
    attention_of_last_block,
    attention_rollout,
    embedding_saliency,
)
from cmid.visualization.correspondence import (
    components_figure,
    correspondence_figure,
    dense_features,
    mutual_matches,
    principal_components,
    similarity_to_cell,
)
from cmid.visualization.embedding import (
    embed,
    embedding_figure,
    nearest_neighbours,
    neighbours_figure,
)
from cmid.visualization.reconstruction import reconstruct, reconstruction_figure

SWIN: dict[str, Any] = {
    "name": "swin_tiny_patch4_window7_224",
    "img_size": 64,
    "embed_dim": 24,
    "depths": (2, 2),
    "num_heads": (2, 4),
    "window_size": 4,
}
VIT: dict[str, Any] = {
    "name": "vit_tiny_patch16_224",
    "img_size": 64,
    "embed_dim": 48,
    "depth": 3,
    "num_heads": 3,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "resnet": {"name": "resnet18", "img_size": 64},
    "swin": SWIN,
    "vit": VIT,
    "vit without class token": {**VIT, "class_token": False},
}


def encoder(family: str) -> MaskedEncoder:
    options = dict(FAMILIES[family])
    return MaskedEncoder(options.pop("name"), **options).eval().requires_grad_(False)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_every_picture_of_every_family(family: str) -> None:
    model = encoder(family)
    images = torch.rand(2, 3, 64, 64)
    dense = dense_features(model, images)
    grid = dense.shape[-2:]
    maps = {"saliency": embedding_saliency(model, images)}
    assert maps["saliency"].shape == (2, *grid)
    assert maps["saliency"].amax(dim=(1, 2)).tolist() == pytest.approx([1, 1])
    if family != "resnet":
        maps["rollout"] = attention_rollout(model, images)
        maps["head 1"] = attention_of_last_block(model, images)[:, 0]
    assert len(attention_figure(images, maps).axes) == 2 * (1 + len(maps))
    figure = correspondence_figure((images[0], images[1]), (dense[0], dense[1]))
    assert len(figure.axes) == 4  # with the colour bar
    larger = torch.rand(2, 3, 128, 128)
    colours = principal_components(dense_features(model, larger))
    assert components_figure(larger, colours).axes
    head = ReconstructionHead(model.embed_dim, model.stride, 3)
    masked, filled, masks = reconstruct(model, head, images, block_size=16, ratio=0.3)
    assert masked.shape == filled.shape == images.shape
    changed = (masked != images).any(dim=1).float().mean(dim=(1, 2))
    assert changed.tolist() == pytest.approx([5 / 16] * 2, abs=1e-3)
    sheet = reconstruction_figure(images, masked, filled.clamp(0, 1), masks)
    assert len(sheet.axes) == 2 * 5 + 1
    assert masks.float().mean().item() == pytest.approx(5 / 16)


@pytest.mark.parametrize("family", ["swin", "vit", "vit without class token"])
def test_attention_is_what_the_model_computes_with(family: str) -> None:
    """The captured weights, applied to the values, give the output of each attention."""
    model = encoder(family)
    images = torch.randn(2, 3, 64, 64)
    outputs: list[tuple[Tensor, Tensor]] = []
    modules = [m.attn for m in model.backbone.modules() if hasattr(m, "attn")]
    handles = [
        m.register_forward_hook(lambda module, args, out: outputs.append((args[0], out)))
        for m in modules
    ]
    before, fused = model(images), [m.fused_attn for m in modules]
    outputs.clear()
    blocks = attention_of_blocks(model, images)
    for handle in handles:
        handle.remove()
    assert len(blocks) == len(modules) == len(outputs)
    for module, block, (inputs, output) in zip(modules, blocks, outputs, strict=True):
        sums = block.weights.sum(-1)
        torch.testing.assert_close(sums, torch.ones_like(sums))
        heads = block.weights.shape[1]
        values = module.qkv(inputs).unflatten(2, (3, heads, -1))[:, :, 2].transpose(1, 2)
        again = module.proj((block.weights @ values).transpose(1, 2).flatten(2))
        torch.testing.assert_close(again, output, rtol=1e-4, atol=1e-5)
    assert [m.fused_attn for m in modules] == fused  # the model is left as it was
    torch.testing.assert_close(model(images), before)


def test_rollout_of_a_vision_transformer_is_the_product_over_blocks() -> None:
    model = encoder("vit")
    images = torch.randn(2, 3, 64, 64)
    product = torch.eye(17).expand(2, -1, -1)
    for block in attention_of_blocks(model, images):
        product = (torch.eye(17) + block.weights.mean(dim=1)) / 2 @ product
    expected = product[:, 0, 1:] / product[:, 0, 1:].sum(dim=1, keepdim=True)
    torch.testing.assert_close(attention_rollout(model, images).flatten(1), expected)


def test_windows_are_cut_and_put_together_also_shifted_and_padded() -> None:
    block = BlockAttention(torch.empty(0), (6, 7), window=(4, 4), shift=(2, 2))
    cells = torch.arange(2 * 6 * 7.0).view(2, 6, 7, 1)
    windows = _to_windows(cells, block)
    assert windows.shape == (2 * 2 * 2, 16, 1)
    assert windows[0, 0, 0] == cells[0, 2, 2, 0]  # the first window begins at the shift
    assert torch.equal(_from_windows(windows, block), cells)


def test_swin_attention_keeps_its_mass() -> None:
    model = encoder("swin")
    images = torch.randn(3, 3, 64, 64)
    received = attention_of_last_block(model, images)
    torch.testing.assert_close(received.sum(dim=(2, 3)), torch.ones(3, 4))
    torch.testing.assert_close(attention_rollout(model, images).sum(dim=(1, 2)), torch.ones(3))


def test_a_cnn_has_no_attention() -> None:
    with pytest.raises(ValueError, match="resnet18 has no attention to show; use its saliency"):
        attention_of_last_block(encoder("resnet"), torch.rand(1, 3, 64, 64))


def test_saliency_shows_the_cell_that_makes_the_embedding() -> None:
    class OneCell(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            dense = torch.zeros(len(images), 4, 3, 3)
            dense[:, 1, 2, 0] = 5
            return dense

        def pool(self, dense: Tensor) -> Tensor:
            return dense.mean(dim=(2, 3))

    saliency = embedding_saliency(OneCell(), torch.rand(1, 3, 6, 6))  # type: ignore[arg-type]
    assert saliency[0, 2, 0] == 1
    assert saliency.sum() == 1


def test_matches_of_an_image_with_itself_and_with_its_shift() -> None:
    cells = nn.functional.normalize(torch.randn(32, 5, 6), dim=0)
    forth, back, values = mutual_matches(cells, cells)
    assert torch.equal(forth, back)
    assert sorted(forth.tolist()) == list(range(30))
    assert values.min() > 0.999
    shifted = cells.roll((1, 2), (1, 2))
    forth, back, _ = mutual_matches(cells, shifted)
    rows, columns = (forth // 6 + 1) % 5, (forth % 6 + 2) % 6
    assert torch.equal(back, rows * 6 + columns)
    assert similarity_to_cell(cells, shifted, (0, 0)).argmax() == 1 * 6 + 2
    with pytest.raises(ValueError, match="outside the grid of 5x6"):
        similarity_to_cell(cells, cells, (5, 0))


def test_principal_components_separate_what_differs_and_share_a_basis() -> None:
    direction = torch.randn(16)
    dense = 0.01 * torch.randn(2, 16, 4, 4)
    dense[:, :, :, :2] += direction[:, None, None]
    colours = principal_components(dense)
    assert colours.min() >= 0
    assert colours.max() <= 1
    left, right = colours[:, 0, :, :2], colours[:, 0, :, 2:]
    assert (left - right.mean()).abs().min() > 0.8
    torch.testing.assert_close(principal_components(dense), colours)
    with pytest.raises(ValueError, match="no three components"):
        principal_components(torch.randn(1, 8, 1, 2))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["tsne", "umap"])
def test_maps_keep_clusters_together(method: Any) -> None:
    labels = torch.arange(60) % 3
    features = nn.functional.one_hot(labels, 8).float() + 0.05 * torch.randn(60, 8)
    threads = torch.get_num_threads()
    points = torch.from_numpy(embed(features, method=method))
    assert torch.get_num_threads() == threads
    assert points.shape == (60, 2)
    distances = torch.cdist(points, points).fill_diagonal_(torch.inf)
    assert (labels[distances.argmin(dim=1)] == labels).float().mean() > 0.95
    assert len(embedding_figure(points.numpy(), labels, ["a", "b", "c"]).legends) == 0
    axis = embedding_figure(points.numpy(), labels, ["a", "b", "c"]).axes[0]
    assert [t.get_text() for t in axis.get_legend().get_texts()] == ["a", "b", "c"]
    assert embedding_figure(points.numpy(), labels, []).axes[0].get_legend() is None


def test_neighbours_are_the_most_similar_others() -> None:
    features = torch.randn(20, 6)
    features[7] = 3 * features[4]
    index, values = nearest_neighbours(features, [4, 7], count=5)
    assert index[:, 0].tolist() == [7, 4]
    assert values[:, 0].tolist() == pytest.approx([1, 1])
    assert (values.diff(dim=1) <= 0).all()
    pictures = torch.rand(5, 3, 8, 8)
    figure = neighbours_figure(
        pictures[:2],
        [pictures, pictures],
        values,
        query_labels=torch.tensor([0, 1]),
        labels=torch.zeros(2, 5, dtype=torch.long),
        classes=["field", "sea"],
    )
    assert len(figure.axes) == 12
    assert figure.axes[7].get_title().startswith("field")
    with pytest.raises(ValueError, match="20 neighbours need more than 20 images"):
        nearest_neighbours(features, [0], count=20)
    with pytest.raises(ValueError, match="at least 5 images"):
        embed(features[:4])
