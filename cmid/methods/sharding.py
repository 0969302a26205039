"""Fully sharded training (FSDP): parameters, gradients and optimizer state split over processes.

Each part that is called on its own is sharded on its own. Student and teacher are split alike,
parameter by parameter, so that the moving average needs no communication.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

from cmid.methods.compilation import repeated_blocks
from cmid.models import MaskedEncoder


def shard_method(module: nn.Module, encoders: Collection[MaskedEncoder], mesh: DeviceMesh) -> None:
    """Shard the encoders within a module block by block, and every part beside them as a whole.

    What holds an encoder, or is a mere list of modules, is taken apart; any other child with
    parameters has to be called as a module (by its ``forward``). Parameters lose their
    channels-last format, which torch does not shard; images may have it.
    """
    module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # missing in torch
    for child in module.children():
        holds_encoder = any(part in encoders for part in child.modules())
        if child in encoders:
            shard_encoder(child, mesh)  # type: ignore[arg-type]
        elif holds_encoder or isinstance(child, nn.ModuleList | nn.ModuleDict):
            shard_method(child, encoders, mesh)
        elif next(child.parameters(), None) is not None:
            shard(child, mesh)


def shard_encoder(encoder: MaskedEncoder, mesh: DeviceMesh) -> None:
    """Shard an encoder, each of its blocks on its own."""
    for block in repeated_blocks(encoder.backbone):
        shard(block, mesh)
    shard(encoder, mesh)
    for method in ("pool", "pooled"):
        register_fsdp_forward_method(encoder, method)


def shard(module: nn.Module, mesh: DeviceMesh) -> None:
    """Shard one module.

    Parameters are freed after each forward also in a root module: torch would keep the teacher's,
    which has no backward, and would not see that the moving average has changed them.
    """
    fully_shard(module, mesh=mesh, reshard_after_forward=True)
