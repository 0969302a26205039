"""Perceivers: feature maps of several depths to a few visual tokens.

Those of LHRS-Bot (arXiv:2402.02544) and LHRS-Bot-Nova (arXiv:2411.09301). Every level has queries
of its own and passes the same layers.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from cmid.multimodal.experts import Experts, ExpertsConfig, FeedForward

Kind = Literal["lhrs_bot", "nova"]
Positions = Literal["none", "keys", "keys_and_values"]
Grid = tuple[int, int]
"""Rows and columns of a feature map."""


@dataclass(frozen=True)
class PerceiverConfig:
    """A perceiver.

    Attributes:
        kind: ``lhrs_bot`` attends to the queries and the cells, ``nova`` to the cells alone, with
            norms around it.
        queries: visual tokens of each level, the shallowest first.
        width: ``D``. heads: of attention. layers: how many.
        positions: where fixed sine-cosine positions of the cells are added. None is as published:
            ``none`` for ``lhrs_bot``, ``keys`` for ``nova``. Levels of a CNN have no positions of
            their own and need them in the values too.
        experts: a mixture in place of each feed-forward network.
        deviation: of its first weights. None is ``fan_in ** -0.5``, which is about the published
            0.02 at 1,152 features. With less, attention begins as a mean over all cells: a narrow
            perceiver soon tells what is in an image and hardly ever where.
    """

    kind: Kind = "nova"
    queries: tuple[int, ...] = (112, 96, 64)
    width: int = 1152
    heads: int = 8
    layers: int = 6
    positions: Positions | None = None
    experts: ExpertsConfig | None = None
    deviation: float | None = 0.02

    def __post_init__(self) -> None:
        object.__setattr__(self, "queries", tuple(self.queries))
        if self.kind not in ("lhrs_bot", "nova"):
            raise ValueError(f"perceiver kind {self.kind!r} is none of lhrs_bot, nova")
        if self.width % self.heads:
            raise ValueError(f"perceiver width {self.width} is no multiple of {self.heads} heads")

    @property
    def added(self) -> Positions:
        """`positions` with its default resolved."""
        return self.positions or ("keys" if self.kind == "nova" else "none")


class Seen(NamedTuple):
    """Visual tokens ``(B, T, out_width)`` and the balance loss of all experts (0 without)."""

    tokens: Tensor
    balance: Tensor


class PerceiverLayer(nn.Module):
    """Attention of queries to a context, then a feed-forward network or experts."""

    def __init__(self, config: PerceiverConfig) -> None:
        super().__init__()
        width = config.width
        self.norm_queries = nn.LayerNorm(width)
        self.norm_context = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, config.heads, batch_first=True)
        self.norm_mixed = nn.LayerNorm(width)
        self.feed_forward: FeedForward | Experts = (
            FeedForward(width, 4 * width)
            if config.experts is None
            else Experts(width, 4 * width, config.experts)
        )

    def forward(
        self, queries: Tensor, keys: Tensor, values: Tensor, *, counted: bool = True
    ) -> tuple[Tensor, Tensor]:
        """``(B, Q, D)`` queries, ``(B, N, D)`` context: queries, and the balance loss."""
        normed = self.norm_context(keys)
        content = normed if values is keys else self.norm_context(values)
        attended, _ = self.attention(
            self.norm_queries(queries), normed, content, need_weights=False
        )
        queries = queries + attended
        mixed, balance = self.norm_mixed(queries), queries.new_zeros(())
        if isinstance(self.feed_forward, Experts):
            mixed, balance = self.feed_forward(mixed, counted=counted)
        else:
            mixed = self.feed_forward(mixed)
        return queries + mixed, balance


class Perceiver(nn.Module):
    """From levels of an image tower to visual tokens.

    Args:
        config: its kind and size.
        widths: features of each level. Levels of one width that is not the perceiver's share a
            linear map in front.
        out_width: width of the language model.
        grids: rows and columns of each level, where `forward` is not told.

    Raises:
        ValueError: another number of levels than of queries.
    """

    def __init__(
        self,
        config: PerceiverConfig,
        widths: Sequence[int],
        *,
        out_width: int,
        grids: Sequence[Grid] | None = None,
    ) -> None:
        super().__init__()
        if len(widths) != len(config.queries):
            raise ValueError(
                f"perceiver.queries {list(config.queries)} are for {len(config.queries)} levels,"
                f" the image tower gives {len(widths)}"
            )
        self.config, self.widths, self.out_width = config, tuple(widths), out_width
        self.grids = None if grids is None else [tuple(grid) for grid in grids]
        self.queries = nn.Parameter(torch.empty(1, sum(config.queries), config.width))
        self.inputs = nn.ModuleDict(
            {
                str(width): nn.Linear(width, config.width)
                for width in sorted(set(widths))
                if width != config.width
            }
        )
        self.layers = nn.ModuleList(PerceiverLayer(config) for _ in range(config.layers))
        self.output = nn.Linear(config.width, out_width)
        if config.kind == "nova":
            self.norm_queries = nn.LayerNorm(config.width)
            self.norm_levels = nn.LayerNorm(config.width)
            self.norm_output = nn.LayerNorm(config.width)
        self._draw()

    @property
    def num_tokens(self) -> int:
        """Visual tokens ``T`` of an image."""
        return sum(self.config.queries)

    def forward(self, levels: Sequence[Tensor], grids: Sequence[Grid] | None = None) -> Tensor:
        """Visual tokens ``(B, T, out_width)``; see `read`."""
        return self.read(levels, grids).tokens

    def read(
        self,
        levels: Sequence[Tensor],
        grids: Sequence[Grid] | None = None,
        *,
        counted: bool = True,
    ) -> Seen:
        """Read levels.

        Args:
            levels: ``(B, N, width)`` each, cells row by row, the shallowest first.
            grids: rows and columns of each, for positions.
            counted: see `cmid.multimodal.experts.Experts.forward`.

        Raises:
            ValueError: positions without grids, or grids of other levels.
        """
        context = [
            self.inputs[str(x.shape[2])](x) if str(x.shape[2]) in self.inputs else x for x in levels
        ]
        queries: Sequence[Tensor] = self.queries.expand(len(levels[0]), -1, -1).split(
            self.config.queries, dim=1
        )
        if self.config.kind == "nova":
            queries = [self.norm_queries(q) for q in queries]
            context = [self.norm_levels(x) for x in context]
        positions = self._positions(context, grids)
        read, balance = [], self.queries.new_zeros(())
        for start, cells, places in zip(queries, context, positions, strict=True):
            keys = cells if places is None else cells + places
            values = keys if self.config.added == "keys_and_values" else cells
            if self.config.kind == "lhrs_bot":
                both = keys is values
                keys = torch.cat([start, keys], dim=1)
                values = keys if both else torch.cat([start, values], dim=1)
            state = start
            for layer in self.layers:
                state, part = layer(state, keys, values, counted=counted)
                balance = balance + part
            read.append(state)
        tokens = torch.cat(read, dim=1)
        if self.config.kind == "nova":
            tokens = self.norm_output(tokens)
        return Seen(self.output(tokens), balance)

    def upcycled(self, experts: ExpertsConfig) -> Perceiver:
        """A copy with experts in place of its feed-forward networks: in evaluation the same.

        Raises:
            ValueError: it has experts, or see `Experts.upcycled`.
        """
        if self.config.experts is not None:
            raise ValueError("this perceiver has experts already")
        new = copy.deepcopy(self)
        new.config = replace(self.config, experts=experts)
        for layer in new.layers:
            assert isinstance(layer, PerceiverLayer)
            assert isinstance(layer.feed_forward, FeedForward)
            layer.feed_forward = Experts.upcycled(layer.feed_forward, experts)
            _draw_linear(layer.feed_forward.router, self.config.deviation)
        return new

    def _positions(
        self, levels: Sequence[Tensor], grids: Sequence[Grid] | None
    ) -> Sequence[Tensor | None]:
        if self.config.added == "none":
            return [None] * len(levels)
        given = grids or self.grids
        if given is None:
            raise ValueError("a perceiver with positions needs the grid of each level")
        grids = [(rows, columns) for rows, columns in given]
        if [rows * columns for rows, columns in grids] != [x.shape[1] for x in levels]:
            cells = [x.shape[1] for x in levels]
            raise ValueError(f"grids {grids} do not have the cells of the levels, {cells}")
        finest = (max(rows for rows, _ in grids), max(columns for _, columns in grids))
        return [
            sine_positions(grid, self.config.width, finest=finest).to(x)
            for grid, x in zip(grids, levels, strict=True)
        ]

    def _draw(self) -> None:
        nn.init.trunc_normal_(self.queries, std=0.02)
        _draw_linear(self, self.config.deviation)


def _draw_linear(module: nn.Module, deviation: float | None) -> None:
    """Weights of a deviation, see `PerceiverConfig`; biases 0. The router's noise stays at zero."""

    def draw(weight: Tensor) -> None:
        if deviation is None:
            nn.init.kaiming_normal_(weight, nonlinearity="linear")
        else:
            nn.init.trunc_normal_(weight, std=deviation)

    for name, part in module.named_modules():
        if isinstance(part, nn.MultiheadAttention):
            draw(part.in_proj_weight)
        elif isinstance(part, nn.Linear) and name.rpartition(".")[2] != "noise":
            draw(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


@cache
@torch.inference_mode(False)  # what is kept may be trained with later
def sine_positions(grid: Grid, width: int, *, finest: Grid | None = None) -> Tensor:
    """Fixed positions of the cells of a grid, row by row.

    Cells of a coarse grid are placed at their centres on the scale of the finest one: a place has
    the same position at every level. On the finest grid, a position is the index of the cell.

    Args:
        grid: rows and columns. width: ``D``, a multiple of 4.
        finest: grid whose cells are the unit; default ``grid`` itself.

    Returns:
        ``(rows * columns, D)`` float32: sines and cosines of the column, then of the row.

    Raises:
        ValueError: a width that is no multiple of 4.
    """
    if width % 4:
        raise ValueError(f"positions need a width that is a multiple of 4, not {width}")
    rate = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    encoded = []
    for count, unit in zip(grid, finest or grid, strict=True):
        place = (torch.arange(count, dtype=torch.float64) + 0.5) * (unit / count) - 0.5
        angle = place[:, None] * rate
        encoded.append(torch.cat([angle.sin(), angle.cos()], dim=1))  # (count, D / 2)
    rows, columns = encoded
    row = rows[:, None].expand(-1, grid[1], -1)
    column = columns[None].expand(grid[0], -1, -1)
    return torch.cat([column, row], dim=2).flatten(0, 1).float()
