"""Signs of collapsed features: few directions in use, little spread."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.no_grad()
def effective_rank(features: Tensor) -> float:
    r"""Number of directions that ``(N, D)`` centred features really use, from 1 to min(N, D).

    :math:`\exp(-\sum p_i \log p_i)` of the normalised singular values (Roy & Vetterli, 2007).
    0 where all features are equal.
    """
    centred = features.float() - features.float().mean(dim=0)
    values = torch.linalg.svdvals(centred)
    if values.sum() <= 1e-6 * features.float().norm():
        return 0.0
    share = values / values.sum()
    return float(torch.special.entr(share).sum().exp())


@torch.no_grad()
def relative_std(features: Tensor) -> float:
    """Mean standard deviation per dimension of L2-normalised ``(N, D)`` features, times sqrt(D).

    About 1 for features spread over the sphere, 0 for collapsed ones (SimSiam, arXiv:2011.10566).
    """
    normalized = F.normalize(features.float(), dim=1)
    return float(normalized.std(dim=0, correction=0).mean() * features.shape[1] ** 0.5)
