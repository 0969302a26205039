"""What a pretraining method gives, and what every method gets for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.strategies import FSDPStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh

import cmid
from cmid.data.statistics import MILLION_AID, ChannelStatistics
from cmid.methods.compilation import compile_backbone
from cmid.methods.freezing import freeze_unused
from cmid.methods.gradient_balance import gradient_norms
from cmid.methods.sharding import shard_method
from cmid.models import MaskedEncoder
from cmid.models.stochastic import switch_off_randomness
from cmid.objective import require_finite, weighted_sum
from cmid.optimization import OptimizerConfig, configure_training, seed_step, teacher_momentum
from cmid.views import DeviceViews, ViewColourConfig, Views

Losses = tuple[dict[str, Tensor], Tensor]


class PretrainMethod(L.LightningModule, ABC):
    """A way to pretrain a backbone without labels, which ``tools/pretrain.py`` trains.

    A method gives its encoders and the losses of a batch:

    - `encoders`: every encoder by its role, built by `make_encoder`; `exported` names the role
      whose backbone is the result;
    - `losses`: the terms of one step, and features to watch;
    - where it has them: `term_weights`, `after_losses`, `reconstruction`, `provenance`, and a
      moving average (`first_momentum`, `update_teacher`).

    It gets two coloured, standardised and masked views on its device, the optimizer and its
    schedule, randomness that is a function of the step (a resumed run continues with the same
    bits), the check of its loss, checkpoints that an export understands, online kNN, the watch
    over collapse, pictures of reconstructions, compilation, memory layout and sharding.

    A subclass takes what it has of its own and hands the rest on, so that the options below are
    options of every method::

        def __init__(self, backbone: str = "resnet50", *, temperature: float = 0.1, **common: Any):
            super().__init__(backbone, **common)
            self.encoder = self.make_encoder(masked=False)

    Args:
        backbone: any timm model with spatial output.
        img_size: pixels per side of a view (the command takes it from the data).
        in_chans: bands of the images (likewise).
        statistics: mean, deviation and range of the bands, for standardisation (likewise).
        mask_mode: how the mask token meets the stem's output.
        stem: name of the backbone's stem, where it is not found.
        backbone_args: further arguments of ``timm.create_model``. Drop path and dropout, which timm
            switches on in some families (Swin: 0.1), are off in every encoder unless a rate is
            given here (``drop_path_rate``).
        colours: colour augmentation of the two views.
        optimizer: optimizer and learning-rate schedule.
        compile: ``torch.compile`` for nothing, each block of the backbone, or the whole of it.
        channels_last: memory format that convolutions prefer.
        grad_checkpointing: recompute activations in the backward pass to save memory.
        watch_gradients: log every so many steps how strongly each weighted loss pulls at the
            encoder, at the cost of a backward pass a loss; 0: never.
        seed: seed of the randomness on the device (colour).

    Attributes:
        exported: role of the encoder that is exported, evaluated and compared with.
        first_momentum: momentum of the moving average at the first step, from where it rises to 1
            on a cosine; ``None`` for a method without.
        left_out: frozen parameters that checkpoints of other settings hold an optimizer's state of.
    """

    exported: str = "encoder"
    first_momentum: float | None = None

    def __init__(
        self,
        backbone: str = "resnet50",
        *,
        img_size: int = 224,
        in_chans: int = 3,
        statistics: ChannelStatistics = MILLION_AID,
        mask_mode: Literal["add", "replace"] = "add",
        stem: str | None = None,
        backbone_args: dict[str, Any] | None = None,
        colours: ViewColourConfig = ViewColourConfig(),
        optimizer: OptimizerConfig = OptimizerConfig(),
        compile: Literal["none", "blocks", "whole"] = "none",
        channels_last: bool = False,
        grad_checkpointing: bool = False,
        watch_gradients: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.views = DeviceViews(colours, statistics)
        self.statistics = statistics
        self.optimizer_parameters = optimizer
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.watch_gradients = watch_gradients
        self.seed = seed
        self.left_out: list[nn.Parameter] = []
        self._backbone_args = backbone_args or {}
        self._encoder_args: dict[str, Any] = {
            "name": backbone,
            "in_chans": in_chans,
            "img_size": img_size,
            "mask_mode": mask_mode,
            "stem": stem,
            **self._backbone_args,
        }
        self._compile = compile
        self._grad_checkpointing = grad_checkpointing
        self._prepared = self._sharded = False

    # What a method gives.

    @abstractmethod
    def encoders(self) -> Mapping[str, MaskedEncoder]:
        """Every encoder by its role, all of one architecture; `exported` is one of the roles."""

    @abstractmethod
    def losses(self, views: Views) -> Losses:
        """The losses of one step.

        Args:
            views: two views of ``B`` images.

        Returns:
            The scalar terms by name, not yet weighted (a term of weight 0 is absent), and pooled
            features ``(N, D)`` without gradient, to watch for collapse.
        """

    def term_weights(self) -> Mapping[str, float]:
        """Weight of each term in the total; a term that is not named counts once."""
        return {}

    def after_losses(self, views: Views) -> None:
        """Move what follows a batch without gradient, such as running statistics."""

    def update_teacher(self, momentum: float) -> None:
        """Move the average after an optimizer step; called where there is a `first_momentum`."""
        raise NotImplementedError(f"{type(self).__name__} has a first_momentum and no teacher")

    def reconstruction(self, views: Views) -> Tensor | None:
        """Reconstructed standardised views ``(2B, C, S, S)``, where the method makes some."""
        return None

    def watched(self) -> dict[str, Tensor]:
        """Numbers of the last batch that tell how training fares, for the log."""
        return {}

    def provenance(self) -> dict[str, Any]:
        """More plain values that checkpoints and exports say about the method."""
        return {}

    # What a method gets.

    def make_encoder(self, *, masked: bool = True, pooled: bool = True) -> MaskedEncoder:
        """Build an encoder with the options of the run.

        What no loss reaches is frozen: distributed training waits for the gradient of every
        parameter that requires one.

        Args:
            masked: masked views are given to it, so that its mask token is trained.
            pooled: a loss depends on its pooled output.
        """
        encoder = MaskedEncoder(**self._encoder_args)
        switch_off_randomness(encoder.backbone, keep=self._backbone_args)
        self.left_out += freeze_unused(encoder, masked=masked, pooled=pooled)
        return encoder

    def prepare(self) -> None:
        """Compile, checkpoint and lay out the encoders as asked for; training does so by itself.

        Call it at the end of a constructor whose method is also used without a trainer.
        """
        if self._prepared:
            return
        self._prepared = True
        for encoder in self.encoders().values():
            trained = any(parameter.requires_grad for parameter in encoder.parameters())
            if self._grad_checkpointing and trained:
                encoder.set_grad_checkpointing()
            if self._compile != "none":
                compile_backbone(encoder.backbone, whole=self._compile == "whole")
        self.to(memory_format=self.memory_format)

    def arrange(self, images: Tensor) -> Tensor:
        """``(B, C, H, W)`` images in the memory format that the encoders have."""
        return images.contiguous(memory_format=self.memory_format)

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """Weighted sum of the terms."""
        return weighted_sum(terms, self.term_weights())

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        seed_step(self, self.seed)
        with torch.autocast(self.device.type, enabled=False):
            views = self.views(batch)
        terms, features = self.losses(views)
        self.after_losses(views)
        total = self.total(terms)
        require_finite(total, terms, step=self.global_step)
        self.log_dict({f"loss/{name}": term.detach() for name, term in terms.items()})
        self.log("loss", total.detach(), prog_bar=True)
        if self.watch_gradients and self.global_step % self.watch_gradients == 0:
            norms = gradient_norms(terms, self.term_weights(), self.encoders().values())
            self.log_dict({f"gradients/{name}": norm for name, norm in norms.items()})
        return {"loss": total, "features": features}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        if self.first_momentum is None:
            super().optimizer_step(*args, **kwargs)
            return
        momentum = teacher_momentum(self, self.first_momentum)
        super().optimizer_step(*args, **kwargs)
        self.update_teacher(momentum)
        self.log("teacher/momentum", momentum)

    def configure_optimizers(self) -> Any:
        return configure_training(self, self.optimizer_parameters, left_out=self.left_out)

    def configure_model(self) -> None:
        """Prepare the encoders; shard where the strategy is Lightning's `ModelParallelStrategy`."""
        self.prepare()
        if isinstance(self.trainer.strategy, FSDPStrategy):
            raise ValueError(
                "FSDPStrategy splits student and teacher differently, which the moving average does"
                " not survive: use trainer.strategy=fsdp of tools/pretrain.py, or"
                " ModelParallelStrategy(save_distributed_checkpoint=False)"
            )
        if self.device_mesh is None or self._sharded:
            return
        # Lightning's own mesh keeps the processes of a node for tensor parallelism.
        mesh = init_device_mesh(self.device_mesh.device_type, (self.trainer.world_size,))
        shard_method(self, [*self.encoders().values()], mesh)
        self._sharded = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what an export needs to rebuild and to describe a backbone, as plain values."""
        encoders = self.encoders()
        encoder = encoders[self.exported]
        names = {module: name for name, module in self.named_modules()}
        checkpoint["cmid"] = {
            "version": cmid.__version__,
            "method": type(self).__name__,
            "model_name": encoder.name,
            "in_chans": encoder.in_chans,
            "img_size": encoder.img_size,
            "stem": encoder.stem_name,
            "mask_mode": encoder.mask_mode,
            "model_kwargs": dict(encoder.model_args),
            **self.statistics.to_plain(),
            "global_step": int(self.global_step),
            "epoch": int(self.current_epoch),
            "encoders": {role: f"{names[module]}." for role, module in encoders.items()},
            "exported": self.exported,
            **self.provenance(),
        }
