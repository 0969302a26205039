"""Exact means and gathers over the processes of a distributed run.

Without an initialised process group each function is the identity.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_reduce


def num_processes() -> int:
    """Number of processes that train together, 1 outside a distributed run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def mean_over_processes(tensor: Tensor) -> Tensor:
    """Mean of ``tensor`` over all processes, differentiable on each of them."""
    if num_processes() == 1:
        return tensor
    return all_reduce(tensor) / num_processes()


@torch.no_grad()
def gather_rows(tensor: Tensor) -> Tensor:
    """Concatenate ``(B, ...)`` of all processes along the first axis, in rank order.

    Batches may differ in length between processes (the last batch of an epoch, a validation
    set that does not divide evenly).
    """
    if num_processes() == 1:
        return tensor
    length = torch.tensor([len(tensor)], device=tensor.device)
    lengths = [torch.zeros_like(length) for _ in range(num_processes())]
    dist.all_gather(lengths, length)
    longest = int(torch.stack(lengths).max())
    padded = tensor.new_zeros((longest, *tensor.shape[1:]))
    padded[: len(tensor)] = tensor
    parts = [torch.empty_like(padded) for _ in range(num_processes())]
    dist.all_gather(parts, padded)
    return torch.cat([part[: int(n)] for part, n in zip(parts, lengths, strict=True)])
