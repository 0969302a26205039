"""`torch.compile` for a backbone, in place: names of parameters stay as they are."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn


def compile_backbone(backbone: nn.Module, *, whole: bool) -> None:
    """Compile a timm backbone; the masking around that of an encoder stays eager.

    Args:
        backbone: timm model.
        whole: compile each stage between stem and head as one graph, or (``False``) every block on
            its own: repeated blocks then share one compilation, which starts several times faster.
    """
    for stage in _stages(backbone):
        if whole and isinstance(stage, nn.Sequential):
            _compile_container(stage)
            continue
        for block in _blocks(stage):
            block.compile()


def _compile_container(stage: nn.Sequential) -> None:
    """Compile a container of blocks, with its hooks, as one graph.

    Its own ``compile()`` passes over code of torch and compiles each block by itself. Like what
    that sets, the compiled call is left out of copies and pickles.
    """

    def call(*args: Any) -> Any:
        return stage._call_impl(*args)

    stage._compiled_call_impl = torch.compile(call)


def repeated_blocks(backbone: nn.Module) -> list[nn.Module]:
    """The residual or attention blocks of a timm backbone."""
    return [block for stage in _stages(backbone) for block in _blocks(stage)]


def _stages(backbone: nn.Module) -> list[nn.Module]:
    return [
        child
        for child in backbone.children()
        if isinstance(child, nn.Sequential | nn.ModuleList) and len(child)
    ]


def _blocks(stage: nn.Module) -> list[nn.Module]:
    """The innermost repeated modules of a stage."""
    children = list(stage.children())
    nested = [getattr(child, "blocks", None) for child in children]
    if any(isinstance(blocks, nn.Module) for blocks in nested):
        return [b for blocks in nested for b in cast(nn.Module, blocks).children()]
    return children
