"""Perceivers of the published code of LHRS-Bot and LHRS-Bot-Nova, by their names of weights."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cmid.checkpoints.strict import load_strictly
from cmid.multimodal.experts import Activation, ExpertsConfig
from cmid.multimodal.perceiver import Grid, Kind, Perceiver, PerceiverConfig, sine_positions

State = Mapping[str, Tensor]
# Of the perceiver: published names and ours. An expert's second map is stored transposed.
_NAMES = [
    (r"query", "queries"),
    (r"layernorm_query\.", "norm_queries."),
    (r"layernorm_kv\.", "norm_levels."),
    (r"layernorm_post\.", "norm_output."),
    (r"out_proj\.", "output."),
    (r"layers\.(\d+)\.ln_1\.", r"layers.\1.norm_queries."),
    (r"layers\.(\d+)\.ln_1_kv\.", r"layers.\1.norm_context."),
    (r"layers\.(\d+)\.ln_2\.", r"layers.\1.norm_mixed."),
    (r"layers\.(\d+)\.attn\.", r"layers.\1.attention."),
    (r"layers\.(\d+)\.mlp\.c_fc\.", r"layers.\1.feed_forward.up."),
    (r"layers\.(\d+)\.mlp\.c_proj\.", r"layers.\1.feed_forward.down."),
    (r"layers\.(\d+)\.mlp\.gate\.gate_network\.0\.", r"layers.\1.feed_forward.router.first."),
    (r"layers\.(\d+)\.mlp\.gate\.gate_network\.2\.", r"layers.\1.feed_forward.router.second."),
    (r"layers\.(\d+)\.mlp\.gate\.weight_noise\.", r"layers.\1.feed_forward.router.noise."),
    (
        r"layers\.(\d+)\.mlp\.calculator\.experts\.(weight|bias)_(up|down)\.(\d+)$",
        r"layers.\1.feed_forward.experts.\4.\3.\2",
    ),
]


def perceiver_from_published(
    state: State,
    *,
    kind: Kind,
    queries: Sequence[int],
    heads: int,
    grid: Grid | None = None,
    activation: Activation | None = None,
) -> Perceiver:
    """A perceiver with the weights of ``other_ckpt/rgb_pooler``.

    Args:
        state: weights by their published names, with or without ``module.`` and ``rgb_pooler.``.
        kind: ``lhrs_bot`` or ``nova``.
        queries: of each level, the shallowest first; the weights do not say.
        heads: of attention; the weights do not say.
        grid: rows and columns of every level; needed by ``nova``.
        activation: of experts; None is ``none``, as released ones were trained.

    Returns:
        Evaluation mode; maps a list of levels ``(B, N, D)`` to visual tokens ``(B, T, E)``.

    Raises:
        ValueError: weights are missing, unknown or of other shapes; names them.
    """
    state = {_bare(name): tensor for name, tensor in state.items()}
    _check_kind(state, kind)
    width = state["query"].shape[2]
    if sum(queries) != state["query"].shape[1]:
        raise ValueError(f"the file has {state['query'].shape[1]} queries, not {list(queries)}")
    config = PerceiverConfig(
        kind=kind,
        queries=tuple(queries),
        width=width,
        heads=heads,
        layers=_count(state, r"layers\.(\d+)\."),
        experts=_experts(state, activation),
    )
    widths = [state["in_proj.weight"].shape[1] if "in_proj.weight" in state else width]
    perceiver = Perceiver(
        config,
        widths * len(queries),
        out_width=state["out_proj.weight"].shape[0],
        grids=None if grid is None else [(grid[0], grid[1])] * len(queries),
    )
    load_strictly(
        perceiver.state_dict(),
        {_ours(name, widths[0]): _laid_out(name, tensor) for name, tensor in state.items()},
        refusal=lambda misfit: f"this is no perceiver of {kind}: {misfit}",
    )
    return perceiver.eval()


def find_kind(state: State) -> Kind:
    """Which system a perceiver is of: only Nova has a norm of queries."""
    return "nova" if any("layernorm_query" in name for name in state) else "lhrs_bot"


def difference_from_published(perceiver: Perceiver, state: State, *, grid: Grid) -> float:
    """Largest difference between ours and the published formulas on random levels.

    Args:
        perceiver: in evaluation mode. state: the published weights it was converted from.

    Raises:
        ValueError: it is more than rounding.
    """
    state = {_bare(name): tensor.float() for name, tensor in state.items()}
    width = state.get("in_proj.weight", state["query"][0]).shape[1]
    generator = torch.Generator().manual_seed(0)
    levels = [
        torch.randn(1, grid[0] * grid[1], width, generator=generator)
        for _ in perceiver.config.queries
    ]
    with torch.no_grad():
        ours, theirs = perceiver(levels), _published(state, levels, perceiver.config, grid)
    error = float((ours - theirs).abs().max())
    if not error <= 1e-4 * max(1.0, float(theirs.abs().max())):
        raise ValueError(f"the converted perceiver differs from the published one by {error:.2g}")
    return error


def _published(
    state: State, levels: Sequence[Tensor], config: PerceiverConfig, grid: Grid
) -> Tensor:
    """The published formulas on the file's own tensors; experts without activation."""

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def attend(layer: str, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        maps = zip(
            (query, key, value),
            state[f"{layer}.attn.in_proj_weight"].chunk(3),
            state[f"{layer}.attn.in_proj_bias"].chunk(3),
            strict=True,
        )
        parts = [F.linear(*each).unflatten(2, (config.heads, -1)).transpose(1, 2) for each in maps]
        read = F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)
        return linear(read, f"{layer}.attn.out_proj")

    def mix(layer: str, x: Tensor) -> Tensor:
        if f"{layer}.mlp.c_fc.weight" in state:
            return linear(F.gelu(linear(x, f"{layer}.mlp.c_fc")), f"{layer}.mlp.c_proj")
        gate, experts = f"{layer}.mlp.gate.gate_network", f"{layer}.mlp.calculator.experts"
        scores = torch.tanh(x @ state[f"{gate}.0.weight"].T) @ state[f"{gate}.2.weight"].T
        best, indices = scores.topk(min(2, scores.shape[-1]), dim=-1)
        shares = torch.zeros_like(scores).scatter(-1, indices, best.softmax(dim=-1))
        outputs = [
            F.linear(x, state[f"{experts}.weight_up.{e}"], state[f"{experts}.bias_up.{e}"])
            @ state[f"{experts}.weight_down.{e}"]
            + state[f"{experts}.bias_down.{e}"]
            for e in range(scores.shape[-1])
        ]
        return (torch.stack(outputs, dim=-1) * shares[..., None, :]).sum(dim=-1)

    nova = "layernorm_query.weight" in state
    depth = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("layers."))
    read = []
    for query, cells in zip(state["query"].split(config.queries, dim=1), levels, strict=True):
        cells = linear(cells, "in_proj") if "in_proj.weight" in state else cells
        start = norm(query, "layernorm_query") if nova else query
        cells = norm(cells, "layernorm_kv") if nova else torch.cat([start, cells], dim=1)
        keys = cells + sine_positions(grid, cells.shape[2]) if nova else cells
        x = start
        for layer in (f"layers.{number}" for number in range(depth)):
            context = norm(keys, f"{layer}.ln_1_kv"), norm(cells, f"{layer}.ln_1_kv")
            x = x + attend(layer, norm(x, f"{layer}.ln_1"), *context)
            x = x + mix(layer, norm(x, f"{layer}.ln_2"))
        read.append(x)
    tokens = torch.cat(read, dim=1)
    return linear(norm(tokens, "layernorm_post") if nova else tokens, "out_proj")


def _bare(name: str) -> str:
    return re.sub(r"^(?:module\.|rgb_pooler\.)+", "", name)


def _check_kind(state: State, kind: Kind) -> None:
    needed = ("query", "out_proj.weight")
    missing = [name for name in needed if name not in state]
    if missing or state["query"].ndim != 3:
        raise ValueError(f"these are no weights of a perceiver: {', '.join(missing) or 'query'}")
    if kind != find_kind(state):
        raise ValueError(f"these weights are of {find_kind(state)}, not of {kind}")


def _count(state: State, pattern: str) -> int:
    return 1 + max(
        (int(found[1]) for name in state if (found := re.match(pattern, name))), default=-1
    )


def _experts(state: State, activation: Activation | None) -> ExpertsConfig | None:
    count = _count(state, r"layers\.0\.mlp\.calculator\.experts\.weight_up\.(\d+)$")
    if not count:
        return None
    return ExpertsConfig(count=count, chosen=min(2, count), activation=activation or "none")


def _ours(name: str, width: int) -> str:
    if name.startswith("in_proj."):
        return f"inputs.{width}.{name.removeprefix('in_proj.')}"
    for theirs, ours in _NAMES:
        if re.match(theirs, name):
            return re.sub(f"^{theirs}", ours, name)
    return name


def _laid_out(name: str, tensor: Tensor) -> Tensor:
    return tensor.T if ".experts.weight_down." in name else tensor
