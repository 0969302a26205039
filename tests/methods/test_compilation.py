"""How many graphs a backbone is compiled into, counted without generating code."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial

import pytest
import timm
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

from cmid.methods.compilation import compile_backbone

DEPTH = 6


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[CompileCounter]:
    counter = CompileCounter()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counter))
    torch.compiler.reset()
    yield counter
    torch.compiler.reset()


def products(graphs: CompileCounter, *, whole: bool) -> float:
    """Operations in a graph of a small ViT, whose features stay what they were."""
    backbone = timm.create_model("test_vit", num_classes=0).eval()
    images = torch.rand(2, 3, *backbone.default_cfg["input_size"][1:])
    eager = backbone.forward_features(images)
    compile_backbone(backbone, whole=whole)
    torch.testing.assert_close(backbone.forward_features(images), eager)
    assert graphs.frame_count == 1  # blocks share theirs
    return graphs.op_count


def test_a_whole_stage_is_one_graph_of_all_its_blocks(graphs: CompileCounter) -> None:
    block = products(graphs, whole=False)
    graphs.clear()
    torch.compiler.reset()
    assert products(graphs, whole=True) == DEPTH * block


def test_hooks_and_copies_of_a_whole_stage_are_kept(graphs: CompileCounter) -> None:
    stage = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    backbone = nn.ModuleDict({"stage": stage})
    handle = stage.register_forward_hook(lambda module, args, output: output + 1)
    features = torch.rand(1, 2)
    expected: Tensor = stage(features)
    compile_backbone(backbone, whole=True)
    torch.testing.assert_close(stage(features), expected)
    assert graphs.frame_count == 1
    other = copy.deepcopy(stage)
    nn.init.zeros_(other[1].weight)
    assert not torch.equal(other(features), expected)
    handle.remove()
    torch.testing.assert_close(stage(features), expected - 1)
