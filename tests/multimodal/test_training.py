"""Training of a small model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import lightning as L
import pytest
import torch

pytest.importorskip("transformers", reason="extra multimodal is not installed")

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
from cmid.multimodal.language import AdapterConfig, LanguageConfig, attention_kernels
from cmid.multimodal.losses import Average
from cmid.multimodal.module import MultimodalTraining
from cmid.multimodal.stages import StageConfig
from tests.multimodal.training import ADAPTER, CONFIG, FAST, scenes, train, weights


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
    from cmid.multimodal.losses import answer_loss

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
