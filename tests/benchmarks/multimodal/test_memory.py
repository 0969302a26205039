"""The arithmetic of what training a multimodal model takes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.speed.multimodal_memory import (
    MemoryConfig,
    count_language,
    kept_bytes,
    training_bytes,
)
from cmid.multimodal.released import Kind

pytest.importorskip("peft", reason="extra multimodal is not installed")
GIB = 2**30


@pytest.mark.parametrize(
    ("kind", "weights", "adapter"),
    [("lhrs_bot", 6_738_415_616, 319_815_680), ("nova", 8_030_261_248, 335_544_320)],
)
def test_language_models_have_the_published_number_of_weights(
    kind: Kind, weights: int, adapter: int
) -> None:
    counted = count_language(kind, MemoryConfig(length=16), adapter=True)
    assert 32 * counted.layer + counted.ends == weights
    assert 32 * counted.adapter == adapter


def test_what_is_kept_is_counted_once_and_without_weights() -> None:
    linear = nn.Linear(8, 8, bias=False)
    inputs = torch.randn(4, 8, requires_grad=True)
    assert kept_bytes(linear, lambda: linear(inputs)) == 4 * 8 * 4
    # The result of exp is kept for its own gradient and as an argument of the map.
    assert kept_bytes(linear, lambda: linear(inputs.exp())) == 4 * 8 * 4
    assert kept_bytes(linear, lambda: linear(inputs.exp().sin())) == 2 * 4 * 8 * 4


def test_checkpointing_trades_all_layers_for_one_and_their_inputs() -> None:
    config = MemoryConfig(length=256)
    with_, without = (
        training_bytes("lhrs_bot", config, tuning="LoRA", checkpointing=chosen)
        for chosen in (True, False)
    )
    counted = count_language("lhrs_bot", config, adapter=True)
    saved = without["activations"] - with_["activations"]
    assert saved == 31 * counted.kept - 32 * 256 * 4096 * 2
    assert with_["frozen weights"] == without["frozen weights"] == pytest.approx(13.1 * GIB, 0.01)
