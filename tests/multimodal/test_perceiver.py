"""Perceivers against the published code, and what it did not have."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cmid.multimodal.experts import Experts, ExpertsConfig
from cmid.multimodal.perceiver import Perceiver, PerceiverConfig, sine_positions
from cmid.multimodal.published import difference_from_published, perceiver_from_published

QUERIES = (6, 4, 2)
Part = Callable[[str], dict[str, Tensor]]


def close(actual: Tensor, expected: Tensor, **tolerance: float) -> None:
    torch.testing.assert_close(actual, expected, **({"atol": 2e-4, "rtol": 1e-5} | tolerance))


def converted(part: Part, name: str, **options: object) -> Perceiver:
    kind = "lhrs_bot" if name.startswith("v1") else "nova"
    grid = options.pop("grid", (3, 3))
    return perceiver_from_published(
        part(f"{name}.state."), kind=kind, queries=QUERIES, heads=4, grid=grid, **options
    )


@pytest.mark.parametrize(
    ("name", "grid", "cells"),
    [
        ("v1", None, (9, 9, 9)),
        ("v1_uneven", None, (9, 6, 4)),
        ("nova_dense", (3, 3), (9, 9, 9)),
        ("nova_wide", (1, 9), (9, 9, 9)),
    ],
)
def test_a_converted_perceiver_gives_what_the_published_one_gave(
    name: str,
    grid: tuple[int, int] | None,
    cells: tuple[int, ...],
    part: Part,
    lhrs: dict[str, Tensor],
) -> None:
    perceiver = converted(part, name, grid=grid)
    close(perceiver(lhrs[f"{name}.input"].split(cells, dim=1)), lhrs[f"{name}.output"])
    if grid is not None:
        assert difference_from_published(perceiver, part(f"{name}.state."), grid=grid) < 1e-4


def test_queries_get_the_published_gradient(part: Part, lhrs: dict[str, Tensor]) -> None:
    perceiver = converted(part, "v1")
    output = perceiver(lhrs["v1.input"].split(9, dim=1))
    (output * lhrs["v1.probe"]).sum().backward()
    close(perceiver.queries.grad, lhrs["v1.grad.query"], rtol=1e-4)


def test_positions_are_the_published_ones(lhrs: dict[str, Tensor]) -> None:
    close(sine_positions((3, 3), 32), lhrs["nova_positions"], atol=1e-6)
    table = sine_positions((64, 64), 32).unflatten(0, (64, 64))
    close(table[::9, ::7], lhrs["nova_positions_table_64"], atol=1e-5)


def test_a_place_has_one_position_at_every_level() -> None:
    fine, coarse = sine_positions((8, 8), 16), sine_positions((4, 4), 16, finest=(8, 8))
    # The centre of a coarse cell lies between its four fine ones, on the scale of the fine.
    angle = torch.tensor(0.5, dtype=torch.float64)
    assert coarse[0, 0] == pytest.approx(float(angle.sin()))
    assert torch.equal(fine, sine_positions((8, 8), 16, finest=(8, 8)))


def test_upcycling_keeps_the_function_whatever_the_router_says(
    part: Part, lhrs: dict[str, Tensor]
) -> None:
    dense = converted(part, "nova_dense")
    experts = dense.upcycled(ExpertsConfig(count=4, chosen=2))
    levels = lhrs["upcycled.input"].split(9, dim=1)
    with torch.no_grad():
        for layer in experts.layers:
            assert isinstance(layer.feed_forward, Experts)
            layer.feed_forward.router.first.weight.normal_()
        close(experts(levels), lhrs["upcycled.output_gelu"])
        close(experts(levels), dense(levels), atol=1e-5)
        # The published one dropped the activation, and so was another function.
        assert (experts(levels) - lhrs["upcycled.output_published"]).abs().max() > 0.1
    weights = [w for layer in experts.layers for w in layer.feed_forward.experts.parameters()]
    assert len({weight.untyped_storage().data_ptr() for weight in weights}) == len(weights)
    with torch.no_grad():
        experts.layers[0].feed_forward.experts[1].up.weight.zero_()
    assert experts.layers[0].feed_forward.experts[0].up.weight.abs().sum() > 0


def test_levels_may_have_different_widths_and_grids() -> None:
    config = PerceiverConfig(queries=(3, 2), width=16, heads=2, layers=2)
    perceiver = Perceiver(config, (8, 24), out_width=20)
    levels = [torch.randn(2, 16, 8), torch.randn(2, 4, 24)]
    assert perceiver(levels, [(4, 4), (2, 2)]).shape == (2, 5, 20)
    with pytest.raises(ValueError, match="needs the grid"):
        perceiver(levels)
    with pytest.raises(ValueError, match="do not have the cells"):
        perceiver(levels, [(4, 4), (4, 2)])


@pytest.mark.parametrize("positions", ["none", "keys", "keys_and_values"])
@pytest.mark.parametrize("kind", ["lhrs_bot", "nova"])
def test_only_positions_tell_where_a_cell_is(kind: str, positions: str) -> None:
    config = PerceiverConfig(
        kind=kind, queries=(3,), width=16, heads=2, layers=1, positions=positions
    )
    perceiver = Perceiver(config, (16,), out_width=16, grids=[(3, 3)])
    for parameter in perceiver.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    cells = torch.randn(1, 9, 16)
    moved = cells[:, torch.randperm(9)]
    same = torch.allclose(perceiver([cells]), perceiver([moved]), atol=1e-4)
    assert same == (positions == "none")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"layers.0.ln_1.weight": None}, "missing, first layers.0.norm_queries.weight"),
        ({"layers.0.extra.weight": torch.zeros(2)}, "unknown, first layers.0.extra.weight"),
        ({"out_proj.bias": torch.zeros(3)}, "of another shape, first output.bias"),
        ({"query": None}, "no weights of a perceiver: query"),
    ],
)
def test_weights_that_do_not_fit_are_named(
    change: dict[str, Tensor | None], fault: str, part: Part
) -> None:
    state = {k: v for k, v in (part("v1.state.") | change).items() if v is not None}
    with pytest.raises(ValueError, match=fault):
        perceiver_from_published(state, kind="lhrs_bot", queries=QUERIES, heads=4)


def test_the_other_system_and_another_number_of_queries_are_refused(part: Part) -> None:
    with pytest.raises(ValueError, match="of lhrs_bot, not of nova"):
        perceiver_from_published(part("v1.state."), kind="nova", queries=QUERIES, heads=4)
    with pytest.raises(ValueError, match="12 queries"):
        perceiver_from_published(part("v1.state."), kind="lhrs_bot", queries=(6, 4), heads=4)


@pytest.mark.parametrize(
    ("config", "width", "count"),
    [
        (PerceiverConfig("lhrs_bot", (64, 48, 32), 1024, 16), 1024, 79_935_488),
        (PerceiverConfig("nova", (112, 96, 64), 1152, 8), 1152, 100_698_112),
        (PerceiverConfig("nova", experts=ExpertsConfig()), 1152, 291_960_160),
    ],
)
def test_full_size_perceivers_have_the_published_number_of_parameters(
    config: PerceiverConfig, width: int, count: int
) -> None:
    with torch.device("meta"):
        perceiver = Perceiver(config, (width,) * 3, out_width=4096)
    assert sum(parameter.numel() for parameter in perceiver.parameters()) == count


@pytest.mark.parametrize(("deviation", "width"), [(0.02, 64), (0.05, 64), (None, 64), (None, 1152)])
def test_first_weights_have_the_deviation_asked_for(deviation: float | None, width: int) -> None:
    config = PerceiverConfig(queries=(2,), width=width, heads=4, layers=1, deviation=deviation)
    (layer,) = Perceiver(config, [width], out_width=width).layers
    expected = width**-0.5 if deviation is None else deviation
    assert layer.attention.in_proj_weight.std().item() == pytest.approx(expected, rel=0.05)


def test_a_narrow_perceiver_tells_places_apart_from_the_start_without_a_deviation() -> None:
    """Of a bright cell that is moved; with little weights tokens are the mean over cells."""
    torch.manual_seed(0)
    cells = torch.eye(16)[:, :, None] * torch.randn(64)  # (16, 16, 64): cell k is bright in image k
    told = []
    for deviation in (0.02, None):
        config = PerceiverConfig(
            queries=(8,), width=64, heads=4, positions="keys_and_values", deviation=deviation
        )
        tokens = Perceiver(config, [64], out_width=64).eval()([cells], [(4, 4)])
        told.append((tokens.std(dim=0).mean() / tokens.std()).item())
    assert told[1] > 5 * told[0]
