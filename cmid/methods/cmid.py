"""CMID: contrastive mask image distillation (arXiv:2304.09670)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import lightning as L
import torch
from lightning.pytorch.strategies import FSDPStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh

import cmid
from cmid.data.statistics import MILLION_AID, ChannelStatistics
from cmid.losses import LocalDistillationLoss, MaskedReconstructionLoss, teacher_temperature
from cmid.memory import keep_freed_memory
from cmid.methods.branches import (
    Branch,
    BYOLAgreement,
    build_agreement,
    build_branch,
    freeze_unused,
)
from cmid.methods.compilation import compile_encoder
from cmid.methods.sharding import shard, shard_branch
from cmid.models import EMATeacher, MaskedEncoder, ReconstructionHead
from cmid.models.batch_norm import set_running_momentum
from cmid.models.stochastic import switch_off_randomness
from cmid.optimization import OptimizerParameters, configure_training, seed_step, teacher_momentum
from cmid.views import DeviceViews, ViewColours, Views, cell_centres, gather_cells, match_positions

# BatchNorm's running statistics of clean images: steps between the student's passes, and the share
# of each pass in them.
STATISTICS_EVERY = 10
STATISTICS_MOMENTUM = 0.25


@dataclass(frozen=True)
class LossWeights:
    """Weights of the three losses; 0 leaves a loss (and what only it needs) out."""

    reconstruction: float = 1.0
    contrastive: float = 1.0
    local: float = 1.0


@dataclass(frozen=True)
class TeacherParameters:
    """The teacher's pace and sharpness.

    Attributes:
        momentum: of the moving average at the first step; it rises to 1 on a cosine.
        first_temperature, last_temperature, warmup_epochs: of the softmax over prototypes.
    """

    momentum: float = 0.996
    first_temperature: float = 0.04
    last_temperature: float = 0.07
    warmup_epochs: int = 50


class CMID(L.LightningModule):
    """One student sees masked views, one EMA teacher sees clean ones; three losses.

    Both masked views pass the student in one batch, both clean views the teacher in another.
    Without BatchNorm this equals separate passes; BatchNorm sees the statistics of both views
    together, in the student as in the teacher. Running statistics, which only evaluation uses, are
    those of clean images in both: the teacher's follow from its passes, the student's from a
    pass over the first clean view every `STATISTICS_EVERY` steps. Masked images have others.

    Args:
        backbone: any timm model with spatial output.
        img_size: of the views in pixels (the command takes it from the data).
        in_chans: bands of the images (likewise).
        statistics: of the bands, for standardisation (likewise).
        mask_mode: how the mask token meets the stem's output.
        stem: name of the backbone's stem, where it is not found.
        backbone_args: further arguments of ``timm.create_model``. Drop path and dropout, which timm
            switches on in some families (Swin: 0.1), are off in student and teacher, as published,
            unless a rate is given here (``drop_path_rate``).
        agreement: global branch: ``moco`` (queue of negatives) or ``byol`` (predictor).
        queue_size: keys of the MoCo queue; keep it far below the number of images. 0: no queue, the
            batch's other keys are the negatives (MoCo v3), which learns faster in short runs.
        projector_norm: BatchNorm after both layers of the projector (MoCo v3), likewise.
        temperature: of InfoNCE.
        num_prototypes: of the local branch.
        num_matches: cells per view that the local branch compares, at most all of them.
        relative_target: reconstruct each view relative to its own mean and standard deviation.
        head_width: hidden width of the projector and of the local head.
        local_norm: BatchNorm in the local head; ``None`` follows the backbone.
        weights: of the losses.
        colours: of the two views.
        teacher: its momentum and temperatures.
        optimizer: optimizer and learning-rate schedule.
        compile: ``torch.compile`` for nothing, each block of the backbone, or the whole of it.
        channels_last: memory format that convolutions prefer.
        grad_checkpointing: recompute activations in the backward pass to save memory.
        seed: of the randomness on the device (colour).
    """

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
        agreement: Literal["moco", "byol"] = "moco",
        queue_size: int = 65536,
        projector_norm: bool = False,
        temperature: float = 0.2,
        num_prototypes: int = 2048,
        num_matches: int = 20,
        relative_target: bool = False,
        head_width: int = 2048,
        local_norm: bool | None = None,
        weights: LossWeights = LossWeights(),
        colours: ViewColours = ViewColours(),
        teacher: TeacherParameters = TeacherParameters(),
        optimizer: OptimizerParameters = OptimizerParameters(),
        compile: Literal["none", "blocks", "whole"] = "none",
        channels_last: bool = False,
        grad_checkpointing: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if max(asdict(weights).values()) <= 0:
            raise ValueError("model.weights: at least one loss needs a weight above 0")
        if min(asdict(weights).values()) < 0:
            raise ValueError("model.weights: a weight below 0 would train against its loss; use 0")
        self.num_matches = num_matches
        self.weights = weights
        self.teacher_parameters = teacher
        self.optimizer_parameters = optimizer
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.seed = seed
        self.sharded = False
        self.statistics = statistics

        self.views = DeviceViews(colours, statistics)
        encoder = MaskedEncoder(
            backbone,
            in_chans=in_chans,
            img_size=img_size,
            mask_mode=mask_mode,
            stem=stem,
            **(backbone_args or {}),
        )
        switch_off_randomness(encoder.backbone, keep=backbone_args or {})
        if local_norm is None:
            local_norm = any(isinstance(m, nn.BatchNorm2d) for m in encoder.modules())
        self.student = build_branch(
            encoder,
            agreement=agreement,
            prototypes=num_prototypes,
            norm=local_norm,
            width=head_width,
            projector_norm=projector_norm,
        )
        self.teacher = EMATeacher(self.student)
        set_running_momentum(encoder, 0.0)
        self.reconstruct = ReconstructionHead(
            encoder.embed_dim, encoder.stride, in_chans, relative=relative_target
        )
        self.reconstruction_loss = MaskedReconstructionLoss(views=2)
        self.agreement = build_agreement(agreement, queue_size=queue_size, temperature=temperature)
        self.local_loss = LocalDistillationLoss(num_prototypes)
        self.left_out = self._freeze_left_out()
        if grad_checkpointing:
            encoder.set_grad_checkpointing()
        if compile != "none":
            compile_encoder(encoder, whole=compile == "whole")
            compile_encoder(self.teacher_branch.encoder, whole=compile == "whole")
        self.to(memory_format=self.memory_format)

    @property
    def teacher_branch(self) -> Branch:
        """The teacher's encoder and heads."""
        return cast(Branch, self.teacher.module)

    def _freeze_left_out(self) -> list[nn.Parameter]:
        """Freeze what only losses of weight 0 would train: nothing waits for its gradients."""
        parts: dict[str, list[nn.Module]] = {
            "reconstruction": [self.reconstruct],
            "contrastive": [self.student.projector, self.agreement],
            "local": [self.student.local_head],
        }
        weights = asdict(self.weights)
        left_out = [
            parameter
            for name, modules in parts.items()
            for module in modules
            for parameter in module.requires_grad_(weights[name] > 0).parameters()
            if not weights[name]
        ]
        return left_out + freeze_unused(self.student.encoder, pooled=weights["contrastive"] > 0)

    def losses(self, views: Views, temperature: float) -> tuple[dict[str, Tensor], Tensor]:
        """The terms of one step, unweighted, and the student's pooled features ``(2B, D)``.

        Args:
            views: two views of ``B`` images.
            temperature: of the teacher's softmax over prototypes.

        Returns:
            A term of weight 0 is absent. The features carry no gradient; they are there to watch.
        """
        terms: dict[str, Tensor] = {}
        dense = self.student.encoder(self._arrange(views.masked), views.masks)  # (2B, D, N, N)
        if self.weights.reconstruction:
            target = self.reconstruct.target(views.images)
            terms |= self.reconstruction_loss(self.reconstruct(dense), target, views.masks)
        if self.weights.contrastive or self.weights.local:
            with torch.no_grad():
                clean = self.teacher_branch.encoder(self._arrange(views.images))  # (2B, D, N, N)
        if self.weights.contrastive:
            queries = self.student.embed(dense).chunk(2)
            with torch.no_grad():
                keys = self.teacher_branch.embed(clean).chunk(2)
            terms["contrastive"] = self.agreement(queries, keys)
        if self.weights.local:
            terms["local"] = self.compare_cells(views, dense, clean, temperature=temperature)
        return terms, self.student.encoder.pool(dense.detach()).detach()

    def compare_cells(
        self, views: Views, dense: Tensor, clean: Tensor, *, temperature: float
    ) -> Tensor:
        """Local loss: cells of one view against the nearest ones of the other, both ways.

        Args:
            dense: ``(2B, D, N, N)`` of the student.
            clean: ``(2B, D, N, N)`` of the teacher.
        """
        size, grid = views.images.shape[-2:], dense.shape[-2:]
        first, second = cell_centres(views.matrices, tuple(size), tuple(grid)).chunk(2)
        forth, forth_partner = match_positions(first, second, self.num_matches)
        back, back_partner = match_positions(second, first, self.num_matches)
        clean_first, clean_second = clean.flatten(2).chunk(2)
        student = self.student.local_head(
            gather_cells(dense.flatten(2), torch.cat([forth, back]))
        )  # (2B, prototypes, matches)
        with torch.no_grad():
            teacher = self.teacher_branch.local_head(
                torch.cat(
                    [
                        gather_cells(clean_second, forth_partner),
                        gather_cells(clean_first, back_partner),
                    ]
                )
            )
        # One after the other: the second direction is computed with the centre the first one moved.
        directions = zip(student.chunk(2), teacher.chunk(2), strict=True)
        first, second = (self.local_loss(s, t, temperature) for s, t in directions)
        return (first + second) / 2

    @torch.no_grad()
    def follow_statistics(self, views: Views, momentum: float) -> None:
        """Move BatchNorm's running statistics towards those of the first clean view.

        Those of the teacher too where no loss runs it.

        Args:
            momentum: 1 forgets what was before.
        """
        encoders = [self.student.encoder]
        if not (self.weights.contrastive or self.weights.local):
            encoders.append(self.teacher_branch.encoder)
        first = views.images.chunk(2)[0]
        # BatchNorm refuses a single value: one image may be one cell at the end of a CNN.
        clean = self._arrange(first if len(first) > 1 else views.images)
        for encoder in encoders:
            if previous := set_running_momentum(encoder, momentum):
                encoder(clean)
                set_running_momentum(encoder, previous[0])

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """Weighted sum of the terms; the two of the reconstruction share a weight."""
        weights = {
            "spatial": self.weights.reconstruction,
            "frequency": self.weights.reconstruction,
            "contrastive": self.weights.contrastive,
            "local": self.weights.local,
        }
        return torch.stack([weights[name] * term for name, term in terms.items()]).sum()

    def on_fit_start(self) -> None:
        if self.device.type == "cpu":
            keep_freed_memory()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        seed_step(self, self.seed)
        with torch.autocast(self.device.type, enabled=False):
            views = self.views(batch)
        p = self.teacher_parameters
        temperature = teacher_temperature(
            self.current_epoch,
            first=p.first_temperature,
            last=p.last_temperature,
            warmup_epochs=p.warmup_epochs,
        )
        terms, features = self.losses(views, temperature)
        batches = self.trainer.fit_loop.epoch_loop.total_batch_idx
        if batches % STATISTICS_EVERY == 0:
            self.follow_statistics(views, STATISTICS_MOMENTUM if batches else 1.0)
        total = self.total(terms)
        if not torch.isfinite(total):
            raise FloatingPointError(
                f"loss is {float(total)} at step {self.global_step}"
                f" ({', '.join(f'{k} {float(v):.3g}' for k, v in terms.items())}):"
                " lower model.optimizer.base_lr or use trainer.precision=32-true"
            )
        self.log_dict({f"loss/{name}": term.detach() for name, term in terms.items()})
        self.log("loss", total.detach(), prog_bar=True)
        return {"loss": total, "features": features}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        momentum = teacher_momentum(self, self.teacher_parameters.momentum)
        super().optimizer_step(*args, **kwargs)
        self.teacher.update(self.student, momentum)
        self.log("teacher/momentum", momentum)

    def configure_model(self) -> None:
        """Shard over processes, where the strategy is Lightning's `ModelParallelStrategy`."""
        if isinstance(self.trainer.strategy, FSDPStrategy):
            raise ValueError(
                "FSDPStrategy splits student and teacher differently, which the moving average does"
                " not survive: use trainer.strategy=fsdp of tools/pretrain.py, or"
                " ModelParallelStrategy(save_distributed_checkpoint=False)"
            )
        if self.device_mesh is None or self.sharded:
            return
        # Lightning's own mesh keeps the processes of a node for tensor parallelism.
        mesh = init_device_mesh(self.device_mesh.device_type, (self.trainer.world_size,))
        for branch in (self.student, self.teacher_branch):
            shard_branch(branch, mesh)
        shard(self.reconstruct, mesh)
        if isinstance(self.agreement, BYOLAgreement):
            shard(self.agreement.predictor, mesh)
        self.sharded = True

    def configure_optimizers(self) -> Any:
        return configure_training(self, self.optimizer_parameters, left_out=self.left_out)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what an export needs to rebuild and to describe the backbone, as plain values."""
        encoder = self.student.encoder
        checkpoint["cmid"] = {
            "version": cmid.__version__,
            "method": "CMID",
            "model_name": encoder.name,
            "in_chans": encoder.in_chans,
            "img_size": encoder.img_size,
            "stem": encoder.stem_name,
            "mask_mode": encoder.mask_mode,
            "model_kwargs": dict(encoder.model_args),
            **self.statistics.to_plain(),
            "global_step": int(self.global_step),
            "epoch": int(self.current_epoch),
            "weights": asdict(self.weights),
            "relative_target": self.reconstruct.relative,
        }

    def _arrange(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=self.memory_format)
