"""Training of a multimodal model as a LightningModule; every stage is a configuration of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh

import cmid
from cmid.checkpoints.runs import open_checkpoint
from cmid.console import warn
from cmid.multimodal.building import MultimodalConfig, build_model
from cmid.multimodal.conversation import Conversation
from cmid.multimodal.folder import load
from cmid.multimodal.language import LanguageConfig, attention_kernels, use_attention
from cmid.multimodal.model import Batch, MultimodalModel
from cmid.multimodal.sharding import shard_model
from cmid.multimodal.splicing import share_prefix
from cmid.multimodal.stages import StageConfig, begin_stage, parameter_groups
from cmid.multimodal.tokens import IGNORED, Encoded
from cmid.objective import require_finite
from cmid.optimization import OptimizerConfig, configure_training, seed_step


class MultimodalTraining(L.LightningModule):
    """A language model that learns to see, or to answer about what it sees.

    The loss is that of the learned tokens of all processes, plus the balance loss of experts.

    Args:
        network: a new model; left aside where there is a start.
        start: folder of the stage before, or any of ``cmid.multimodal.save_model``.
        language_model: where the language model lies, if elsewhere than the start says; as for 4
            bits a `LanguageConfig`, whose default name and dtype stand for those of the start.
        stage: what learns, and how.
        optimizer: optimizer and schedule.
        texts: what a tokenizer ``bpe:N`` of a new model learns from.
        grad_checkpointing: recompute activations of the language model to save memory.
        channels_last: memory format that convolutions of the tower prefer.
        attention: how the language model computes its attention, as transformers names it:
            ``eager``, ``sdpa``, ``flash_attention_2``; None is its own choice. By ``eager`` the
            other parts take plain products, too.
        max_answer: tokens of answers in validation.
        seed: random seed of dropout and of the router's noise.
    """

    def __init__(
        self,
        network: MultimodalConfig = MultimodalConfig(),
        *,
        start: str | None = None,
        language_model: str | LanguageConfig | None = None,
        stage: StageConfig = StageConfig(),
        optimizer: OptimizerConfig = OptimizerConfig(
            name="adamw", base_lr=8e-3, weight_decay=0.05, betas=(0.9, 0.98), warmup_epochs=0.2
        ),
        texts: Sequence[str] | None = None,
        grad_checkpointing: bool = False,
        channels_last: bool = False,
        attention: str | None = None,
        max_answer: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.stage, self.optimizer_parameters = stage, optimizer
        self.max_answer, self.seed, self.attention = max_answer, seed, attention
        self.sharded = False
        torch.manual_seed(seed)
        self._start: Callable[[], MultimodalModel] = (
            partial(build_model, network, texts=texts)
            if start is None
            else partial(load, start, language_model, trainable=True)
        )
        self.model = self._start()
        self.frozen = begin_stage(self.model, stage)
        self.model.train()  # a trainer leaves modes as they are
        if grad_checkpointing:
            self.model.language.enable_input_require_grads()
            self.model.language.gradient_checkpointing_enable({"use_reentrant": False})
        if attention is not None:
            use_attention(self.model.language, attention)
        if channels_last:
            self.model.tower.network.to(memory_format=torch.channels_last)
        self.left_out = 0
        self._unseen_told = False

    def configure_model(self) -> None:
        """Split the weights over processes, where the strategy is fsdp."""
        if self.device_mesh is None or self.sharded:
            return
        # Lightning's own mesh keeps the processes of a node for tensor parallelism.
        mesh = init_device_mesh(self.device_mesh.device_type, (self.trainer.world_size,))
        shard_model(self.model, mesh)
        self.sharded = True

    def whole_model(self, checkpoint: str | Path) -> MultimodalModel:
        """The model as it is now; one whose weights are split from its last checkpoint.

        Raises:
            ValueError: the checkpoint is of another stage or model.
        """
        if not self.sharded:
            return self.model
        model = self._start()
        begin_stage(model, self.stage)
        stored = open_checkpoint(Path(checkpoint))["state_dict"]
        self._require_own(stored)
        model.load_state_dict({k.removeprefix("model."): v for k, v in stored.items()}, False)
        return model

    def on_fit_start(self) -> None:
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        for name, own in (("size", self.model.tower.size), ("fit", self.model.fit)):
            if getattr(data, name) != own:
                raise ValueError(
                    f"data.{name} {getattr(data, name)} differs from the model's {own}"
                )
        self.print(self.frozen)
        if self.sharded and getattr(data, "val_source", None) is not None:
            self.print("trainer.strategy fsdp: validation gives the loss, and no generated answers")

    def arranged(self, batch: Mapping[str, Any]) -> Batch:
        """Samples as the model reads them.

        Args:
            batch: ``images``, of each sample ``(N, C, size, size)``, and ``conversations``, lists
                about the images of each.
        """
        rows: list[tuple[Encoded, Tensor]] = []
        order: list[int] = []
        first = 0
        for images, conversations in zip(batch["images"], batch["conversations"], strict=True):
            encoded = self._encoded(conversations, len(images))
            shared = share_prefix(encoded) if self.stage.share_prefix and encoded else None
            own = [shared] if shared else [(e, torch.ones_like(e.ids)) for e in encoded]
            rows += own
            order += list(range(first, first + len(images))) * len(own)
            first += len(images)
        if not rows:  # all left out: a step of which nothing is learned
            empty = torch.tensor([self.model.encoder.tokenizer.pad_token_id])
            rows = [(Encoded(empty, torch.full_like(empty, IGNORED)), torch.ones_like(empty))]
        return Batch(
            [encoded.ids for encoded, _ in rows],
            [encoded.labels for encoded, _ in rows],
            torch.cat(list(batch["images"])),
            order,
            [segments for _, segments in rows] if self.stage.share_prefix else None,
        )

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        seed_step(self, self.seed)
        self._count_unseen(batch)
        arranged = self.arranged(batch)
        with attention_kernels(self.attention):
            output = self.model(
                arranged, average=self.stage.average, shared=self._mean_of_processes, whole=False
            )
        require_finite(output.loss, output.parts, step=self.global_step)
        size = len(batch["images"])
        self.log_dict({f"loss/{k}": v.detach() for k, v in output.parts.items()}, batch_size=size)
        self.log("loss", output.loss.detach(), prog_bar=True, batch_size=size)
        self.log("left_out", float(self.left_out), batch_size=size, reduce_fx="max")
        return output.loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """The loss, and the share of answers that are generated letter by letter.

        Processes that share the weights would wait for each other's longest answer: the loss alone.
        """
        output = self.model(self.arranged(batch), average=self.stage.average, whole=False)
        size = len(batch["images"])
        self.log("val/loss", output.parts["language"], batch_size=size, sync_dist=True)
        if self.sharded:
            return
        pairs = [
            (asked, list(images))
            for images, conversations in zip(batch["images"], batch["conversations"], strict=True)
            for asked in self._shortened(conversations, len(images))
        ]
        asked, images = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        answers = self.model.generate(asked, images, max_tokens=self.max_answer) if asked else []
        right = [
            answer == str(each.turns[-1].answer).strip()
            for answer, each in zip(answers, asked, strict=True)
        ]
        exact = torch.tensor(sum(right) / max(len(right), 1))
        self.log("val/exact", exact, batch_size=len(right), sync_dist=True, prog_bar=True)

    def configure_optimizers(self) -> Any:
        groups = parameter_groups(
            self.model, self.stage, weight_decay=self.optimizer_parameters.weight_decay
        )
        return configure_training(self, self.optimizer_parameters, trained=groups)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["cmid"] = {
            "version": cmid.__version__,
            "method": "multimodal",
            "global_step": int(self.global_step),
            "epoch": int(self.current_epoch),
            "trained": list(self.stage.trained),
        }

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Without frozen weights of the language model: billions, of which the start has a copy."""
        whole = super().state_dict(*args, **kwargs)
        frozen = self._frozen_language()
        return {name: tensor for name, tensor in whole.items() if name not in frozen}

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """All that `state_dict` gives, and nothing else.

        Raises:
            ValueError: other names.
        """
        self._require_own(state_dict)
        return super().load_state_dict(state_dict, strict=False)

    def _require_own(self, state_dict: Mapping[str, Any]) -> None:
        differing = sorted(self.state_dict().keys() ^ state_dict.keys())
        if differing:
            raise ValueError(
                f"a checkpoint of another stage or model: {len(differing)} weights differ, first"
                f" {', '.join(differing[:3])}"
            )

    def _frozen_language(self) -> set[str]:
        start = "model.language."
        return {
            name
            for name, parameter in self.named_parameters()
            if name.startswith(start) and not parameter.requires_grad
        }

    def _count_unseen(self, batch: dict[str, Any]) -> None:
        """Count what the data left out, and say so when it happens first."""
        unseen = batch.get("left_out", 0)
        if unseen and not self._unseen_told:
            warn(
                f"conversations with a box that fit {self.model.fit} leaves next to nothing of are"
                " left out, and counted in left_out; fit pad or squash cuts nothing off"
            )
            self._unseen_told = True
        self.left_out += unseen

    def _encoded(self, conversations: Sequence[Any], images: int) -> list[Encoded]:
        kept = self._shortened(conversations, images)
        self.left_out += len(conversations) - len(kept)
        return [self.model.encoder.encode(each) for each in kept]

    def _shortened(self, conversations: Sequence[Any], images: int) -> list[Conversation]:
        """Conversations as the stage's longest ones may be, without those that are too long."""
        asked = [Conversation.of(each, images=images) for each in conversations]
        if self.stage.max_length is None:
            return asked
        visual = self.model.perceiver.num_tokens
        shortened = [
            self.model.encoder.shorten(each, limit=self.stage.max_length, visual=visual)
            for each in asked
        ]
        return [each for each in shortened if each is not None]

    def _mean_of_processes(self, total: Tensor) -> Tensor:
        return self.trainer.strategy.reduce(total.clone(), reduce_op="mean")
