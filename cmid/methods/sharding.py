"""Fully sharded training (FSDP): parameters, gradients and optimizer state split over processes.

Each part that is called on its own is sharded on its own. Student and teacher are split alike,
parameter by parameter, so that the moving average needs no communication.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

from cmid.methods.branches import Branch
from cmid.methods.compilation import repeated_blocks


def shard_branch(branch: Branch, mesh: DeviceMesh) -> None:
    """Shard encoder (block by block) and heads of a student or teacher.

    Parameters lose their channels-last format, which torch does not shard; images may have it.
    """
    branch.to(memory_format=torch.contiguous_format)
    for block in repeated_blocks(branch.encoder.backbone):
        shard(block, mesh)
    shard(branch.encoder, mesh)
    for method in ("pool", "pooled"):
        register_fsdp_forward_method(branch.encoder, method)
    shard(branch.projector, mesh)
    shard(branch.local_head, mesh)


def shard(module: nn.Module, mesh: DeviceMesh) -> None:
    """Shard one module.

    Parameters are freed after each forward also in a root module: torch would keep the teacher's,
    which has no backward, and would not see that the moving average has changed them.
    """
    fully_shard(module, mesh=mesh, reshard_after_forward=True)
