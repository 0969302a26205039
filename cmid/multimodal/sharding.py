"""Fully sharded training (FSDP): the weights of a multimodal model split over processes."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import register_fsdp_forward_method
from torch.export import register_dataclass

from cmid.methods.compilation import repeated_blocks
from cmid.methods.sharding import shard
from cmid.multimodal.model import MultimodalModel, Output

_OUTPUTS = (Output,)


def shard_model(model: MultimodalModel, mesh: DeviceMesh) -> None:
    """Split a model over the processes of a mesh: block by block, then what is left as a whole.

    Only a forward pass of the whole model gathers all weights; `MultimodalModel.generate` of a
    split model fails. Parameters lose their channels-last format.

    Raises:
        ValueError: a language model of 4 or 8 bits, whose weights torch does not split.
    """
    if getattr(model.language, "is_quantized", False):
        raise ValueError(
            "trainer.strategy fsdp does not split weights of 4 or 8 bits: take ddp, or leave"
            " language.quantise out"
        )
    _show_outputs()
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # missing in torch
    for block in (*language_blocks(model.language), *repeated_blocks(model.tower.network)):
        shard(block, mesh)
    for part in (model.tower, model.perceiver):
        shard(part, mesh)
    register_fsdp_forward_method(model.perceiver, "read")
    # Embeddings and head, which may be one tensor, are together in the group of the whole.
    shard(model, mesh)


@cache
def _show_outputs() -> None:
    """Let torch find the tensors in outputs: their gradients tell when weights are due again."""
    for kind in _OUTPUTS:
        register_dataclass(kind)


def language_blocks(language: Any) -> list[nn.Module]:
    """The decoder blocks of a language model, as transformers names them."""
    parts = [*language.modules()]
    kinds = {name for part in parts for name in getattr(part, "_no_split_modules", None) or ()}
    return [part for part in parts if type(part).__name__ in kinds]
