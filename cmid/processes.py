"""Exact means and gathers over the processes of a distributed run.

Without an initialised process group each function is the identity.
"""

from __future__ import annotations

import atexit
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_gather, all_reduce

T = TypeVar("T")
_PATIENCE = timedelta(days=30)


def num_processes() -> int:
    """Number of processes that train together, 1 outside a distributed run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def leave_group() -> None:
    """End the process group, where there is one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def leave_group_at_exit() -> None:
    """End the process group before the interpreter ends.

    Threads of gloo that outlive the interpreter abort the process now and then, after the work is
    done; Lightning ends groups of GPUs only.
    """
    atexit.unregister(leave_group)
    atexit.register(leave_group)


def mean_over_processes(tensor: Tensor) -> Tensor:
    """Mean of ``tensor`` over all processes, differentiable on each of them."""
    if num_processes() == 1:
        return tensor
    return all_reduce(tensor) / num_processes()


def gather_rows(tensor: Tensor) -> Tensor:
    """Concatenate ``(B, ...)`` of all processes along the first axis, in rank order.

    Batches may differ in length between processes (the last batch of an epoch, a validation
    set that does not divide evenly). Carries no gradient.
    """
    with torch.no_grad():
        return _gather(tensor.detach(), differentiable=False)


def rows_of_this_process(tensor: Tensor) -> Tensor:
    """Where the rows of this process lie in the result of `gather_rows`: ``(B,)`` int64."""
    lengths = gather_rows(torch.tensor([len(tensor)], device=tensor.device)).tolist()
    rank = dist.get_rank() if num_processes() > 1 else 0
    return torch.arange(len(tensor), device=tensor.device) + sum(lengths[:rank])


def gather_rows_with_gradient(tensor: Tensor) -> Tensor:
    """`gather_rows`, differentiable on each process.

    Every process that computes the same loss of the result sends its gradient back, so that
    gradients add up to the number of processes times that of one; the average over processes
    that data-parallel training takes makes it exactly one.
    """
    return _gather(tensor, differentiable=True)


def patient_group() -> dist.ProcessGroup | None:
    """Group of all processes in which one may work for days while the others wait for it.

    Groups of GPUs give up after ten minutes. Every process has to ask for it; None if there is one.
    """
    if num_processes() == 1:
        return None
    return dist.new_group(backend="gloo", timeout=_PATIENCE)


def gather_objects(value: T, group: dist.ProcessGroup | None = None) -> list[T]:
    """What can be pickled of all processes, in rank order.

    Args:
        group: such as `patient_group`; by default that of the training.
    """
    if num_processes() == 1:
        return [value]
    gathered: list[Any] = [None] * num_processes()
    dist.all_gather_object(gathered, value, group=group)
    return gathered


def _gather(tensor: Tensor, *, differentiable: bool) -> Tensor:
    if num_processes() == 1:
        return tensor
    length = torch.tensor([len(tensor)], device=tensor.device)
    lengths = [torch.zeros_like(length) for _ in range(num_processes())]
    dist.all_gather(lengths, length)
    longest = int(torch.stack(lengths).max())
    padded = torch.cat([tensor, tensor.new_zeros((longest - len(tensor), *tensor.shape[1:]))])
    if differentiable:
        parts = all_gather(padded)
    else:
        parts = [torch.empty_like(padded) for _ in range(num_processes())]
        dist.all_gather(parts, padded)
    return torch.cat([part[: int(n)] for part, n in zip(parts, lengths, strict=True)])
