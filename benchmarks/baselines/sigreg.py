"""Sketched isotropic Gaussian regularisation (SIGReg, LeJEPA, arXiv:2511.08544)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cmid.precision import full_precision
from cmid.processes import mean_over_processes, num_processes


def epps_pulley(samples: Tensor, *, points: int = 17, limit: float = 5.0) -> Tensor:
    r"""Epps-Pulley statistic of one-dimensional samples against the standard normal.

    .. math:: T = N \int |\hat\varphi(t) - e^{-t^2/2}|^2 \, e^{-t^2/2} \, dt, \qquad
              \hat\varphi(t) = \frac{1}{N} \sum_n e^{i t x_n}

    The integral is the trapezoidal rule on ``points`` places of ``[0, limit]``, doubled: the
    integrand is even. Every moment of the samples counts through the empirical characteristic
    function, whose slope is bounded, unlike that of moments. For ``N`` standard normal samples the
    expectation is :math:`\sqrt{2\pi} (1 - 1/\sqrt 3) \approx 1.06`, whatever ``N``.

    Args:
        samples: ``(N, M)``, one set of samples a column. The characteristic function is that of the
            samples of all processes, which all have the same ``N``.
        points: places of the integrand.
        limit: largest place.

    Returns:
        ``(M,)`` float32, at least 0; ``N`` counts all processes.
    """
    with full_precision(samples):
        places = torch.linspace(0, limit, points, device=samples.device)
        normal = torch.exp(-0.5 * places.square())
        angles = samples.float().unsqueeze(-1) * places  # (N, M, points)
        found = torch.stack([angles.cos().mean(0), angles.sin().mean(0)])  # (2, M, points)
        real, imaginary = mean_over_processes(found)
        distance = (real - normal).square() + imaginary.square()
        count = len(samples) * num_processes()
        return 2 * count * torch.trapezoid(distance * normal, places, dim=-1)


class SIGReg(nn.Module):
    """Distance of embeddings from an isotropic standard normal, seen from random directions.

    By the theorem of Cramér and Wold a distribution is isotropic normal where its projection on
    every direction is; new directions at each call see all of them in time.

    Args:
        directions: number of random directions, drawn anew at each call, the same in all processes.

    Attributes:
        calls: number of calls so far, the seed of the next directions: a resumed run goes on with
            those that come next.

    Example:
        >>> SIGReg()(torch.zeros(64, 8)) > SIGReg()(torch.randn(64, 8))
        tensor(True)
    """

    calls: Tensor

    def __init__(self, directions: int = 256) -> None:
        super().__init__()
        self.directions = directions
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Mean Epps-Pulley statistic of ``(..., N, D)`` embeddings; scalar, float32."""
        generator = torch.Generator().manual_seed(int(self.calls))
        drawn = torch.randn(embeddings.shape[-1], self.directions, generator=generator)
        if self.training:
            self.calls += 1
        with full_precision(embeddings):
            directions = F.normalize(drawn, dim=0).to(embeddings.device)  # (D, directions)
            projected = embeddings.float() @ directions  # (..., N, directions)
            return epps_pulley(projected.movedim(-2, 0).flatten(1)).mean()
