"""The heads: golden vectors, shapes, unit lengths, precision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cmid.models import LocalHead, Predictor, Projector, ReconstructionHead

GOLDEN = Path(__file__).parents[1] / "data" / "cmid.safetensors"


def test_local_head_reproduces_the_golden_vectors():
    golden = load_file(GOLDEN)
    prefix = "local_head.state."
    state = {k.removeprefix(prefix): v for k, v in golden.items() if k.startswith(prefix)}
    gain = state.pop("last_layer.weight_g")
    torch.testing.assert_close(gain, torch.ones_like(gain))  # ours has none: it is fixed at 1
    state["prototypes.weight"] = state.pop("last_layer.weight_v")
    for layer in ("mlp.1", "mlp.4"):
        state[f"{layer}.num_batches_tracked"] = torch.tensor(0)

    head = LocalHead(32, hidden=24, bottleneck=16, num_prototypes=48, norm=True)
    head.load_state_dict(state)
    got = head.train()(golden["local_head.input"])
    torch.testing.assert_close(got, golden["local_head.output_train"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("norm", [True, False])
def test_local_head_gives_cosines_with_prototypes(norm):
    head = LocalHead(8, hidden=12, bottleneck=6, num_prototypes=10, norm=norm)
    with torch.no_grad():
        head.prototypes.weight.mul_(100)  # length does not matter
    output = head(torch.randn(3, 8, 5))
    assert output.shape == (3, 10, 5)
    assert output.abs().max() <= 1 + 1e-6
    assert any(isinstance(m, torch.nn.BatchNorm1d) for m in head.modules()) == norm


def test_local_head_treats_each_cell_alone():
    head = LocalHead(8, hidden=12, bottleneck=6, num_prototypes=10, norm=False)
    cells = torch.randn(3, 8, 5)
    torch.testing.assert_close(head(cells)[..., 2:3], head(cells[..., 2:3]))


@pytest.mark.parametrize(("stride", "chans"), [(1, 3), (4, 1), (14, 13), (32, 3)])
def test_reconstruction_head_reaches_image_size(stride, chans):
    assert ReconstructionHead(6, stride, chans)(torch.rand(2, 6, 3, 2)).shape == (
        2,
        chans,
        3 * stride,
        2 * stride,
    )


def test_untrained_reconstruction_head_paints_cells_of_one_colour():
    image = ReconstructionHead(6, 4, 3)(torch.rand(2, 6, 3, 2))
    cells = image.unfold(2, 4, 4).unfold(3, 4, 4)  # (2, 3, 3, 2, 4, 4)
    assert torch.equal(cells, cells[..., :1, :1].expand_as(cells))
    assert len(cells[..., 0, 0].unique()) == 2 * 3 * 3 * 2


def test_reconstruction_head_keeps_pixels_inside_their_cell():
    head = ReconstructionHead(4, 8, 2)
    dense = torch.rand(1, 4, 3, 3)
    moved = dense.clone()
    moved[..., 1, 2] += 1
    changed = (head(dense) != head(moved)).any(dim=1)[0]
    assert changed[8:16, 16:24].all()
    assert changed.sum() == 64


@pytest.mark.parametrize(
    "make",
    [
        lambda: Projector(16, hidden=64, out=4),
        lambda: Projector(16, 64, 4, norm=True),
        lambda: Predictor(16, 64),
    ],
)
def test_embeddings_have_length_one_in_float32_also_under_autocast(make):
    head = make()  # here, where random numbers are seeded: with few units all may be off
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embedding = head(1e3 * torch.randn(6, 16))
    assert embedding.dtype == torch.float32
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(6))


def test_projector_is_mocos_without_norm_and_byols_with():
    kinds = [[type(m).__name__ for m in Projector(4, 4, 4, norm=n).mlp] for n in (False, True)]
    assert kinds == [["Linear", "ReLU", "Linear"], ["Linear", "BatchNorm1d", "ReLU", "Linear"]]


def test_projector_with_norm_of_its_output_hides_what_all_images_share():
    torch.manual_seed(0)
    features = 10 + torch.randn(32, 8)
    plain, normed = Projector(8, 16, 16), Projector(8, 16, 16, norm=True, norm_output=True)
    assert plain(features).mean(dim=0).norm() > 0.9
    assert normed(features).mean(dim=0).norm() < 0.1


def test_linear_layers_start_small_and_without_bias():
    for head in (Projector(64, 64, 64), LocalHead(64, 64, 64, 64, norm=True)):
        for name, parameter in head.named_parameters():
            if parameter.ndim > 1:
                assert 0.017 < parameter.std() < 0.023, name
    assert Projector(4, 4, 4).mlp[0].bias.abs().sum() == 0
