"""A mixture of experts with a noisy top-k router, in place of a feed-forward network.

Nova (arXiv:2411.09301) has 4 experts of which 2 are chosen. Its published code never calls the
activation of an expert, and its load term compares the noise alone with the threshold; here both
are as the papers define them (Shazeer et al., arXiv:1701.06538).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cmid.precision import full_precision
from cmid.processes import mean_over_processes

Activation = Literal["gelu", "none"]
_LEAST_NOISE = 0.01


@dataclass(frozen=True)
class ExpertsConfig:
    """A mixture of experts.

    Attributes:
        count: experts ``E``.
        chosen: experts ``k`` that each token passes.
        activation: between the two maps of an expert; ``none``, a linear expert, is what released
            weights of Nova were trained with.
        balance: weight of the balance loss.
    """

    count: int = 4
    chosen: int = 2
    activation: Activation = "gelu"
    balance: float = 0.01

    def __post_init__(self) -> None:
        if not 1 <= self.chosen <= self.count:
            raise ValueError(f"{self.chosen} of {self.count} experts cannot be chosen")


class FeedForward(nn.Module):
    """``(..., D)`` to ``(..., D)`` through ``hidden`` features."""

    def __init__(self, width: int, hidden: int, *, activation: Activation = "gelu") -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.activation = nn.GELU() if activation == "gelu" else nn.Identity()
        self.down = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.down(self.activation(self.up(tokens)))


@dataclass(frozen=True)
class Routing:
    """Where each of N tokens goes.

    Attributes:
        indices: ``(N, k)`` experts, the best first.
        shares: ``(N, k)`` float32, softmax of their scores.
        importance: ``(E,)`` sum of shares.
        load: ``(E,)`` tokens: while training, with a gradient, the sum of the probabilities that
            another draw of the noise would choose the expert; else the count.
    """

    indices: Tensor
    shares: Tensor
    importance: Tensor
    load: Tensor

    @property
    def imbalance(self) -> Tensor:
        """Squared coefficients of variation of importance and load, summed."""
        return _variation(self.importance) + _variation(self.load)

    def imbalance_of_all(self, *, counted: bool = True) -> Tensor:
        """`imbalance` over the tokens of all processes, differentiable on each of them.

        Args:
            counted: whether those of this process count.
        """
        own = torch.stack([self.importance, self.load])
        importance, load = mean_over_processes(own if counted else 0 * own)
        return _variation(importance) + _variation(load)


class NoisyTopKRouter(nn.Module):
    """Scores ``A2 tanh(A1 x)``, while training with noise of a learned size (from 0 on)."""

    def __init__(self, width: int, *, count: int, chosen: int) -> None:
        super().__init__()
        self.chosen = chosen
        self.first = nn.Linear(width, count, bias=False)
        self.second = nn.Linear(count, count, bias=False)
        self.noise = nn.Linear(width, count, bias=False)
        nn.init.zeros_(self.noise.weight)

    def forward(self, tokens: Tensor, noise: Tensor | None = None) -> Routing:
        """Route ``(N, D)`` tokens.

        Args:
            noise: ``(N, E)`` standard normal; while training drawn where it is not given, in
                evaluation left aside.
        """
        clean = self.second(torch.tanh(self.first(tokens)))
        with full_precision(tokens):
            clean = clean.float()
            if not self.training:
                return self._routed(clean, None)
            size = F.softplus(self.noise(tokens).float()) + _LEAST_NOISE
            drawn = torch.randn_like(clean) if noise is None else noise
            return self._routed(clean + drawn * size, (clean, size))

    def _routed(self, scores: Tensor, origin: tuple[Tensor, Tensor] | None) -> Routing:
        count, k = scores.shape[1], self.chosen
        best, places = scores.topk(min(k + 1, count), dim=1)
        indices = places[:, :k]
        shares = best[:, :k].softmax(dim=1)
        spread = torch.zeros_like(scores).scatter(1, indices, shares)  # (N, E)
        chosen = torch.zeros_like(scores).scatter(1, indices, 1.0)
        load = chosen.sum(dim=0)
        if origin is not None and k < count:
            clean, size = origin
            # What an expert has to exceed: the next best where it is chosen, else the k-th.
            bar = torch.where(chosen.bool(), best[:, k : k + 1], best[:, k - 1 : k])
            load = torch.special.ndtr((clean - bar) / size).sum(dim=0)
        return Routing(indices, shares, spread.sum(dim=0), load)


class Experts(nn.Module):
    """Feed-forward networks among which a router chooses for each token."""

    def __init__(self, width: int, hidden: int, config: ExpertsConfig = ExpertsConfig()) -> None:
        super().__init__()
        self.config = config
        self.router = NoisyTopKRouter(width, count=config.count, chosen=config.chosen)
        self.experts = nn.ModuleList(
            FeedForward(width, hidden, activation=config.activation) for _ in range(config.count)
        )

    @classmethod
    def upcycled(cls, dense: FeedForward, config: ExpertsConfig) -> Experts:
        """Experts that each are a copy of a dense network: in evaluation the function is the same.

        Whatever the router says, it mixes equal outputs. Each expert has its own memory.

        Raises:
            ValueError: linear experts, which would be another function.
        """
        if config.activation != "gelu":
            raise ValueError("experts without activation are another function than a dense network")
        experts = cls(dense.up.in_features, dense.up.out_features, config)
        experts.experts = nn.ModuleList(copy.deepcopy(dense) for _ in range(config.count))
        return experts.to(dense.up.weight)

    def forward(
        self, tokens: Tensor, noise: Tensor | None = None, *, counted: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Mix experts.

        Args:
            tokens: ``(..., D)``.
            noise: see `NoisyTopKRouter.forward`.
            counted: whether the balance loss is of these tokens; of no image they are not.

        Returns:
            ``(..., D)``, and the weighted balance loss: of these tokens, while training of those of
            all processes.
        """
        flat = tokens.flatten(0, -2)  # (N, D)
        routing = self.router(flat, noise)
        mixed = torch.zeros_like(flat)
        for number, expert in enumerate(self.experts):
            # An expert without tokens still runs: several processes await its gradient.
            row, rank = (routing.indices == number).nonzero(as_tuple=True)
            share = routing.shares[row, rank, None].to(flat.dtype)
            mixed = mixed.index_add(0, row, (expert(flat[row]) * share).to(flat.dtype))
        if self.training and torch.is_grad_enabled():
            imbalance = routing.imbalance_of_all(counted=counted)
        else:
            imbalance = routing.imbalance
        return mixed.view_as(tokens), self.config.balance * imbalance


def _variation(values: Tensor) -> Tensor:
    if len(values) == 1:
        return values.new_zeros(())
    return values.var() / (values.mean() ** 2 + 1e-10)
