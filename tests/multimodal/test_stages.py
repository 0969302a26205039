"""Stages: what each trains, and what it hands on."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("transformers", reason="extra multimodal is not installed")

import cmid.multimodal
from cmid.console import TrainingWarning
from cmid.multimodal.data import (
    MultimodalData,
    SceneConversations,
)
from cmid.multimodal.experts import ExpertsConfig
from cmid.multimodal.language import LanguageConfig
from cmid.multimodal.module import MultimodalTraining
from cmid.multimodal.stages import StageConfig, begin_stage, part_of
from cmid.multimodal.tokens import TemplateConfig
from cmid.optimization import OptimizerConfig
from tests.multimodal.training import ADAPTER, CONFIG, FAST, scenes, train, weights


@pytest.mark.parametrize(
    "trained",
    [("perceiver",), ("perceiver", "adapter"), ("adapter",), ("tower", "perceiver"), ("language",)],
)
def test_what_a_stage_does_not_train_stays_bit_for_bit(trained: tuple[Any, ...]) -> None:
    data = scenes()
    stage = StageConfig(trained=trained, adapter=ADAPTER if "adapter" in trained else None)
    module = MultimodalTraining(CONFIG, stage=stage, optimizer=FAST, texts=data.texts())
    before = weights(module.model)
    for part in ("tower", "perceiver"):
        assert getattr(module.model, part).training == (part in trained)
    train(module, data)
    moved = {
        part_of(name)
        for name, tensor in module.model.state_dict().items()
        if not torch.equal(tensor, before[name])
    }
    assert moved == set(trained)
    for part in ("tower", "perceiver", "language"):
        learns = f"{part}: 0 of" not in module.frozen
        assert learns == (part in trained)


def test_published_stages_follow_each_other_through_folders(tmp_path: Path) -> None:
    """Perceiver and tower; then experts and an adapter; then the same: as Nova's three."""
    data = scenes()
    first = StageConfig(trained=("tower", "perceiver"), template=TemplateConfig("plain"))
    module = MultimodalTraining(CONFIG, stage=first, optimizer=FAST, texts=data.texts())
    train(module, data)
    cmid.multimodal.save_model(module.model, tmp_path / "1")
    second = StageConfig(
        trained=("perceiver", "adapter"),
        template=TemplateConfig("llama3"),
        adapter=ADAPTER,
        experts=ExpertsConfig(),
    )
    next_module = MultimodalTraining(start=str(tmp_path / "1"), stage=second, optimizer=FAST)
    module.eval(), next_module.eval()
    image = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    with torch.no_grad():
        seen = [each.model.see(image).tokens for each in (module, next_module)]
    # Upcycled experts start as the function that stage 1 learned.
    torch.testing.assert_close(*seen, atol=1e-5, rtol=1e-5)
    train(next_module, data)
    cmid.multimodal.save_model(next_module.model, tmp_path / "2")
    third = MultimodalTraining(start=str(tmp_path / "2"), stage=second, optimizer=FAST)
    again = weights(third.model)
    assert again.keys() == weights(next_module.model).keys()
    assert all(torch.equal(again[k], v) for k, v in weights(next_module.model).items())
    assert third.model.encoder.template.name == "llama3"
    assert (tmp_path / "2/adapter").is_dir()


def test_parts_learn_at_rates_of_their_own_and_vectors_do_not_decay() -> None:
    data = scenes()
    stage = StageConfig(rates={"tower": 0.1})
    optimizer = OptimizerConfig(name="adamw", base_lr=0.064, weight_decay=0.3, warmup_epochs=0)
    module = MultimodalTraining(CONFIG, stage=stage, optimizer=optimizer, texts=data.texts())
    trainer = train(module, data, max_steps=1)
    named = {id(parameter): name for name, parameter in module.model.named_parameters()}
    for group in trainer.optimizers[0].param_groups:
        names = [named[id(parameter)] for parameter in group["params"]]
        (part,) = {part_of(name) for name in names}
        assert group["initial_lr"] == pytest.approx(1e-3 * (0.1 if part == "tower" else 1))
        assert (group["weight_decay"] == 0.3) == all(p.ndim > 1 for p in group["params"])
    held = sum(len(group["params"]) for group in trainer.optimizers[0].param_groups)
    assert held == sum(parameter.requires_grad for parameter in module.parameters())


def test_a_language_model_that_stays_random_is_warned_of(tmp_path: Path) -> None:
    texts = ["a", "b"]
    frozen = StageConfig(trained=("perceiver",))
    with pytest.warns(TrainingWarning, match="tiny:llama:64x2 is untrained and stays so") as told:
        module = MultimodalTraining(CONFIG, stage=frozen, texts=texts)
    assert len(told) == 1
    cmid.multimodal.save_model(module.model, tmp_path / "random")
    with pytest.warns(TrainingWarning, match="stays so"):
        MultimodalTraining(start=str(tmp_path / "random"), stage=frozen)
    with warnings.catch_warnings():
        warnings.simplefilter("error", TrainingWarning)
        module = MultimodalTraining(CONFIG, texts=texts)
        cmid.multimodal.save_model(module.model, tmp_path / "trained")
        MultimodalTraining(start=str(tmp_path / "trained"), stage=frozen)
        path = tmp_path / "trained/config.json"
        older = json.loads(path.read_text())
        del older["language_trained"], older["dtype"]
        path.write_text(json.dumps(older))
        MultimodalTraining(start=str(tmp_path / "trained"), stage=frozen)


@pytest.fixture
def base(tmp_path: Path) -> str:
    """A folder of a language model that can be had elsewhere, with its tokenizer."""
    model = MultimodalTraining(CONFIG, texts=["a", "b"]).model
    model.language.save_pretrained(tmp_path / "base")
    model.encoder.tokenizer.save_pretrained(tmp_path / "base")
    return str(tmp_path / "base")


def test_a_stage_hands_on_the_type_of_the_language_model(base: str, tmp_path: Path) -> None:
    stage = StageConfig(trained=("perceiver",))
    network = replace(CONFIG, language=LanguageConfig(base, dtype="bfloat16"))
    first = MultimodalTraining(network, stage=stage).model
    folder = str(cmid.multimodal.save_model(first, tmp_path / "1"))
    for given, dtype in (
        (None, torch.bfloat16),
        (base, torch.bfloat16),
        (LanguageConfig(), torch.bfloat16),
        (LanguageConfig(dtype="float32"), torch.float32),
    ):
        model = MultimodalTraining(start=folder, language_model=given, stage=stage).model
        assert model.language.dtype == dtype
        assert model.language_name == base


def test_a_language_model_that_a_stage_trains_is_saved_with_the_folder(
    base: str, tmp_path: Path
) -> None:
    network = replace(CONFIG, language=LanguageConfig(base))
    for trained, kept in ((("perceiver",), False), (("perceiver", "language"), True)):
        module = MultimodalTraining(network, stage=StageConfig(trained=trained), optimizer=FAST)
        train(module, scenes())
        folder = cmid.multimodal.save_model(module.model, tmp_path / str(kept))
        assert (folder / "language").is_dir() == kept
        again = weights(cmid.multimodal.load(folder))
        assert all(torch.equal(again[k], v) for k, v in weights(module.model).items())


def test_a_stage_starts_with_an_adapter_on_4_bits(base: str, tmp_path: Path) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    network = replace(CONFIG, language=LanguageConfig(base))
    first = MultimodalTraining(network, stage=StageConfig(trained=("perceiver",))).model
    folder = str(cmid.multimodal.save_model(first, tmp_path / "1"))
    bits = LanguageConfig(quantise=4)
    stage = StageConfig(trained=("perceiver", "adapter"), adapter=ADAPTER)
    module = MultimodalTraining(start=folder, language_model=bits, stage=stage, optimizer=FAST)
    kinds = [type(part) for part in module.model.language.modules()]
    assert any(issubclass(kind, bitsandbytes.nn.Linear4bit) for kind in kinds)
    before = weights(module.model)
    train(module, scenes())
    moved = {k for k, v in module.model.state_dict().items() if not torch.equal(v, before[k])}
    assert {part_of(name) for name in moved} == {"perceiver", "adapter"}
    with pytest.raises(ValueError, match="4 or 8 bits and cannot learn"):
        MultimodalTraining(start=folder, language_model=bits)


def test_stages_that_make_no_sense_are_refused(small: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="the model has none"):
        begin_stage(small(), StageConfig(trained=("adapter",)))
    with pytest.raises(ValueError, match="some of tower, perceiver"):
        StageConfig(trained=("bridge",))  # type: ignore[arg-type]
    data = MultimodalData(SceneConversations(8, size=32), size=16, batch_size=4, num_workers=0)
    with pytest.raises(ValueError, match=r"data.size 16 differs from the model's 32"):
        train(MultimodalTraining(CONFIG, texts=data.texts()), data)
