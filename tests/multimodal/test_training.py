"""Stages, and training of a small model."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("transformers", reason="extra multimodal is not installed")

import cmid.multimodal
from cmid.console import TrainingWarning
from cmid.multimodal.building import MultimodalConfig
from cmid.multimodal.conversation import Conversation
from cmid.multimodal.data import (
    ConversationFile,
    ConversationSource,
    Example,
    Mixture,
    MultimodalData,
    SceneConversations,
)
from cmid.multimodal.data.datamodule import collate
from cmid.multimodal.data.scenes import FURTHER, KINDS, ask
from cmid.multimodal.experts import ExpertsConfig
from cmid.multimodal.language import AdapterConfig, LanguageConfig, attention_kernels
from cmid.multimodal.model import Average
from cmid.multimodal.module import MultimodalTraining
from cmid.multimodal.perceiver import PerceiverConfig
from cmid.multimodal.stages import StageConfig, begin_stage, part_of
from cmid.multimodal.tokens import TemplateConfig
from cmid.multimodal.tower import TowerConfig
from cmid.optimization import OptimizerConfig

CONFIG = MultimodalConfig(
    tower=TowerConfig("random:test_resnet", size=32),
    perceiver=PerceiverConfig(
        queries=(4, 3, 2), width=32, heads=4, layers=1, positions="keys_and_values"
    ),
    language=LanguageConfig("tiny:llama:64x2"),
)
ADAPTER = AdapterConfig(rank=4, alpha=8, dropout=0.0)
FAST = OptimizerConfig(name="adamw", base_lr=0.05, weight_decay=0.0, warmup_epochs=0)


def scenes(**changes: Any) -> MultimodalData:
    settings = {"num_images": 8, "size": 32, "limit": 2} | changes
    source = SceneConversations(**settings)
    return MultimodalData(source, size=32, batch_size=4, num_workers=0)


def train(module: MultimodalTraining, data: MultimodalData, **options: Any) -> L.Trainer:
    trainer = L.Trainer(
        **({"max_steps": 2, "enable_checkpointing": False} | options),
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)
    return trainer


def weights(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


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


@pytest.mark.parametrize("average", get_args(Average))
def test_conversations_behind_one_prefix_are_as_if_they_were_apart(average: Any) -> None:
    data = scenes(limit=7)
    data.trainer = None
    batch = next(iter(data.train_dataloader()))
    losses, gradients = [], []
    for share in (True, False):
        stage = StageConfig(share_prefix=share, average=average)
        module = MultimodalTraining(CONFIG, stage=stage, texts=data.texts()).eval()
        arranged = module.arranged(batch)
        assert (len(arranged.ids) == 4) == share
        loss = module.model(arranged, average=average).loss
        loss.backward()
        losses.append(loss.detach())
        gradients.append(module.model.perceiver.queries.grad)
    torch.testing.assert_close(losses[0], losses[1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-6, rtol=1e-3)


def test_ways_to_compute_attention_agree() -> None:
    data = scenes(limit=7)
    data.trainer = None
    batch = next(iter(data.train_dataloader()))
    losses, gradients = [], []
    adapted = replace(CONFIG, language=replace(CONFIG.language, adapter=ADAPTER))
    for attention in ("eager", "sdpa"):
        module = MultimodalTraining(
            adapted, stage=StageConfig(share_prefix=True), texts=data.texts(), attention=attention
        ).eval()
        assert module.model.language.config._attn_implementation == attention
        with attention_kernels(module.attention):
            assert torch.backends.cuda.flash_sdp_enabled() == (attention == "sdpa")
            loss = module.model(module.arranged(batch)).loss
        loss.backward()
        losses.append(loss.detach())
        gradients.append(module.model.perceiver.queries.grad)
    torch.testing.assert_close(losses[0], losses[1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-6, rtol=1e-3)
    with pytest.raises(ValueError, match="eagre"):
        MultimodalTraining(CONFIG, texts=data.texts(), attention="eagre")


class Kept(ConversationSource):
    """Examples of another source, read once."""

    def __init__(self, source: ConversationSource) -> None:
        self.examples = [source.read(index) for index in range(len(source))]

    def __len__(self) -> int:
        return len(self.examples)

    def read(self, index: int, *, generator: Any = None) -> Example:
        return self.examples[index]


def test_eight_samples_are_learned_by_heart() -> None:
    source = Kept(SceneConversations(8, size=32, kinds=["classification"]))
    data = MultimodalData(source, size=32, batch_size=8, num_workers=0, val_source=source)
    stage, faster = StageConfig(average="answers"), replace(FAST, base_lr=0.1, min_lr=1.0)
    module = MultimodalTraining(CONFIG, stage=stage, optimizer=faster, texts=data.texts())
    trainer = train(module, data, max_steps=80, max_epochs=None, check_val_every_n_epoch=80)
    assert trainer.callback_metrics["val/exact"] == 1


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path) -> None:
    ends = []
    for steps in ((4,), (2, 4)):
        path = None
        for end in steps:
            data = scenes()
            stage = StageConfig(trained=("perceiver", "adapter"), adapter=AdapterConfig(4, 8, 0.5))
            module = MultimodalTraining(CONFIG, stage=stage, optimizer=FAST, texts=data.texts())
            trainer = L.Trainer(
                max_steps=4, limit_train_batches=2, accelerator="cpu", logger=False,
                enable_progress_bar=False, enable_checkpointing=False, enable_model_summary=False,
                callbacks=[_StopAt(end)],
            )  # fmt: skip
            trainer.fit(module, data, ckpt_path=path)
            path = str(tmp_path / f"{end}.ckpt")
            trainer.save_checkpoint(path)
        ends.append(weights(module.model))
    assert all(torch.equal(tensor, ends[1][name]) for name, tensor in ends[0].items())
    stored = torch.load(path, weights_only=True)["state_dict"]
    assert not any(name.endswith("embed_tokens.weight") for name in stored)
    other = MultimodalTraining(CONFIG, texts=["a"])
    with pytest.raises(ValueError, match="of another stage or model"):
        other.load_state_dict(stored)


class _StopAt(L.Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        trainer.should_stop = trainer.global_step >= self.step


def test_weights_of_the_loss_are_shared_by_processes() -> None:
    """Two processes with 1 and 3 learned tokens give together what one with 4 gives."""
    from cmid.multimodal.model import answer_loss

    labels = torch.full((2, 5), -100)
    labels[0, 1], labels[1, 1:4] = 0, 0
    logits = torch.randn(2, 5, 3)
    whole = answer_loss(logits, labels)
    halves = [
        answer_loss(
            logits[k : k + 1], labels[k : k + 1], shared=lambda total: total.new_tensor(2.0)
        )
        for k in range(2)
    ]
    torch.testing.assert_close(sum(halves) / 2, whole)


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


def test_too_long_conversations_are_counted() -> None:
    data = scenes()
    stage = StageConfig(max_length=20)
    module = MultimodalTraining(CONFIG, stage=stage, texts=data.texts()).eval()
    image = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    long = Conversation.of([("q" * 80, "a")], images=1)
    batch = {"images": [image], "conversations": [[long]]}
    for average in get_args(Average):
        loss = module.model(module.arranged(batch), average=average).parts["language"]
        assert loss == 0
    assert module.left_out == 4


def test_validation_shortens_or_leaves_out_what_training_does() -> None:
    examples = [
        Example((torch.zeros(3, 32, 32, dtype=torch.uint8),), (Conversation.of(turns, images=1),))
        for turns in ([("q" * 2100, "no"), ("short", "a")], [("q" * 2100, "no")])
    ]
    for kept in (examples[:1], examples[1:], examples):
        source = Kept(scenes().source)
        held_out = Kept.__new__(Kept)
        held_out.examples = kept
        data = MultimodalData(source, size=32, batch_size=2, num_workers=0, val_source=held_out)
        stage = StageConfig(max_length=200)
        module = MultimodalTraining(CONFIG, stage=stage, texts=["short", "a"], max_answer=4)
        trainer = train(module, data, max_steps=1, val_check_interval=1)
        exact = trainer.callback_metrics["val/exact"]
        assert exact.isnan() if kept == examples[1:] else 0 <= exact <= 1


@pytest.mark.parametrize("name", ["tiny:llama:64x2", "tiny:gpt2:64x2"])
def test_gradient_checkpointing_changes_nothing_but_memory(name: str) -> None:
    data = scenes()
    data.trainer = None
    batch = next(iter(data.train_dataloader()))
    network = replace(CONFIG, language=LanguageConfig(name))
    found, calls = [], []
    for again in (False, True):
        module = MultimodalTraining(
            network,
            stage=StageConfig(trained=("perceiver",)),
            texts=data.texts(),
            grad_checkpointing=again,
        ).train()
        inner = next(m for n, m in module.model.language.named_modules() if n.endswith("0.mlp"))
        inner.register_forward_pre_hook(lambda *_, seen=again: calls.append(seen))
        loss = module.model(module.arranged(batch)).loss
        loss.backward()
        gradients = {k: p.grad for k, p in module.model.perceiver.named_parameters()}
        found.append((loss.detach(), gradients))
    assert (calls.count(False), calls.count(True)) == (1, 2)
    torch.testing.assert_close(*found)


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


def test_every_source_of_a_mixture_has_to_know_its_lengths(tmp_path: Path) -> None:
    said = [{"from": "human", "value": "Hello?"}, {"from": "gpt", "value": "Yes."}]
    path = tmp_path / "text.json"
    path.write_text(json.dumps([{"conversations": said}]))
    mixed = Mixture([ConversationFile(path), Kept(ConversationFile(path))])
    with pytest.raises(ValueError, match=r"length_groups 5: Kept does not know"):
        MultimodalData(mixed, length_groups=5)
    MultimodalData(Mixture([ConversationFile(path)] * 2), length_groups=5)


def test_conversations_that_the_data_leaves_out_are_counted_and_told_once() -> None:
    data = scenes()
    module = MultimodalTraining(CONFIG, texts=data.texts())
    data.collate = lambda samples: {**collate(samples), "left_out": 3}  # type: ignore[method-assign]
    with pytest.warns(UserWarning, match="leaves next to nothing of are left out") as told:
        train(module, data)
    assert module.left_out == 6
    assert sum("next to nothing" in str(each.message) for each in told) == 1


def test_stages_that_make_no_sense_are_refused(small: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="the model has none"):
        begin_stage(small(), StageConfig(trained=("adapter",)))
    with pytest.raises(ValueError, match="some of tower, perceiver"):
        StageConfig(trained=("bridge",))  # type: ignore[arg-type]
    data = MultimodalData(SceneConversations(8, size=32), size=16, batch_size=4, num_workers=0)
    with pytest.raises(ValueError, match=r"data.size 16 differs from the model's 32"):
        train(MultimodalTraining(CONFIG, texts=data.texts()), data)


def test_scenes_are_asked_what_is_true_of_them() -> None:
    import random

    from cmid.data.scenes import PLAIN_AREA, generate_scene
    from cmid.data.scenes.phrases import CLEARLY, plural

    found: dict[str, list[str]] = {kind: [] for kind in (*KINDS, *FURTHER)}
    slivers = 0
    for index in range(60):
        scene = generate_scene(index, size=64)
        named = [each for each in scene.instances if each.area < PLAIN_AREA]
        slivers += len(named) > 0
        for asked in ask(scene, random.Random(index), (*KINDS, *FURTHER)):
            found[asked.kind].append(asked.answer)
            if asked.kind == "cover":
                second, first = np.sort(np.bincount(scene.semantic_mask.ravel()))[-2:]
                assert first > CLEARLY * second
            if asked.kind == "choice":
                assert f"{asked.answer}. {scene.class_name}" in asked.text
            if asked.kind == "count":
                assert not any(plural(each.category) in asked.text for each in named)
            if asked.kind == "honesty" and asked.true:
                assert not any(f"the {each.category}?" in asked.text for each in named)
    assert 40 < len(found["cover"]) < 60  # near ties are not asked about
    assert slivers > 10
    assert 10 < len(found["count"]) < 40  # what is hardly seen is not counted
    for kind in ("presence", "comparison"):
        assert 0.3 < found[kind].count("yes") / len(found[kind]) < 0.7
    assert set(found["choice"]) == set("ABCD")
    assert all(answer.startswith("[") for answer in found["grounding"])
    assert all(answer.startswith("{") for answer in found["oriented"])
    denied = sum(answer.startswith("there is no") for answer in found["honesty"])
    assert 0.3 < denied / len(found["honesty"]) < 0.9
    source = SceneConversations(10, size=32, kinds=["count", "region"], limit=1)
    assert all(len(source.read(index).conversations) <= 1 for index in range(10))
    often = SceneConversations(10, size=32, kinds=["choice", "urban"], again={"choice": 3})
    assert [len(often.read(index).conversations) for index in range(3)] == [4, 4, 4]
    few = SceneConversations(40, size=32, limit=2, always=["caption"])
    asked_first = [
        [each.turns[0].question for each in few.read(index).conversations] for index in range(40)
    ]
    assert all(sum("Describe" in text for text in texts) == 1 for texts in asked_first)
    assert 5 < sum("Describe" in texts[0] for texts in asked_first) < 35
    assert all(len(texts) == 2 for texts in asked_first)


def test_files_of_conversations_are_read_and_checked(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (8, 6), (9, 0, 0)).save(tmp_path / "a.png")
    said = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A Roof."}]
    rows: list[Any] = [
        {"id": "1", "image": "a.png", "conversations": said},
        {"image": ["a.png", "a.png"], "conversations": [{**said[0], "value": "Same?"}, said[1]]},
        {"conversations": [{**said[0], "value": "Hello?"}, said[1]]},
    ]
    path = tmp_path / "data.json"
    path.write_text(json.dumps(rows))
    source = ConversationFile(path)
    examples = [source.read(index) for index in range(3)]
    assert [len(example.images) for example in examples] == [1, 2, 0]
    assert [example.conversations[0].num_images for example in examples] == [1, 2, 0]
    assert examples[0].conversations[0].turns[0].answer == "A Roof."
    faulty = [
        ({"image": "b.png", "conversations": said}, "there is no image"),
        ({"image": "a.png"}, "no 'conversations'"),
        ({"image": "a.png", "conversations": said[:1]}, "has no answer"),
        ({"conversations": said}, "1 places"),
        ("text", "no JSON object"),
    ]
    for row, fault in faulty:
        path.write_text(json.dumps([*rows, row]))
        with pytest.raises(ValueError, match=f"entry 3: .*{fault}"):
            ConversationFile(path)
        assert len(ConversationFile(path, on_error="skip")) == 3
        assert ConversationFile(path, on_error="skip").skipped.total() == 1
    for text, fault in (("{", "damaged"), ("{}", "not a list"), ("[]", "no conversation")):
        path.write_text(text)
        with pytest.raises(ValueError, match=fault):
            ConversationFile(path)
