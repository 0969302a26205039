"""CMID: contrastive mask image distillation (arXiv:2304.09670)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from cmid.losses import LocalDistillationLoss, MaskedReconstructionLoss, teacher_temperature
from cmid.methods.base import Losses, PretrainMethod
from cmid.methods.branches import Branch, build_agreement, build_branch
from cmid.models import EMATeacher, MaskedEncoder, ReconstructionHead
from cmid.models.batch_norm import set_running_momentum
from cmid.precision import full_precision
from cmid.views import Views, cell_centres, gather_cells, match_positions

# BatchNorm's running statistics of clean images: steps between the student's passes, and the share
# of each pass in them.
STATISTICS_EVERY = 10
STATISTICS_MOMENTUM = 0.25


@dataclass(frozen=True)
class LossConfig:
    """Weights of the three losses; 0 leaves a loss (and what only it needs) out."""

    reconstruction: float = 1.0
    contrastive: float = 1.0
    local: float = 1.0


@dataclass(frozen=True)
class TeacherConfig:
    """The teacher's pace and sharpness.

    Attributes:
        momentum: momentum of the moving average at the first step; it rises to 1 on a cosine.
        first_temperature: temperature of the softmax over prototypes in the first epoch.
        last_temperature: the same from the end of its warm-up on.
        warmup_epochs: epochs from the first temperature to the last.
    """

    momentum: float = 0.996
    first_temperature: float = 0.04
    last_temperature: float = 0.07
    warmup_epochs: int = 50


class CMID(PretrainMethod):
    """One student sees masked views, one EMA teacher sees clean ones; three losses.

    Both masked views pass the student in one batch, both clean views the teacher in another.
    Without BatchNorm this equals separate passes; BatchNorm sees the statistics of both views
    together, in the student as in the teacher. Running statistics, which only evaluation uses, are
    those of clean images in both: the teacher's follow from its passes, the student's from a
    pass over the first clean view every `STATISTICS_EVERY` steps. Masked images have others.

    Args:
        backbone: any timm model with spatial output.
        agreement: global branch: ``moco`` (queue of negatives), ``byol`` (predictor) or ``simclr``
            (the student's two views against the batch's others, without the teacher).
        global_views: what the student's global branch sees: ``masked`` views as the other losses,
            as published, or ``clean`` ones in a pass of its own, which downstream images look
            like; a step then costs some 1.7 times as much.
        queue_size: keys of the MoCo queue; keep it far below the number of images. 0: no queue, the
            batch's other keys are the negatives (MoCo v3), which learns faster in short runs.
        projector_norm: BatchNorm after both layers of the projector (MoCo v3), likewise.
        temperature: InfoNCE softmax temperature.
        num_prototypes: prototypes of the local branch.
        num_matches: cells per view that the local branch compares, at most all of them.
        relative_target: reconstruct each view relative to its own mean and standard deviation.
        head_width: hidden width of the projector and of the local head.
        local_norm: BatchNorm in the local head; ``None`` follows the backbone.
        weights: weight of each loss.
        teacher: the teacher's momentum and temperatures.
        **common: options of every method, see `PretrainMethod`.
    """

    exported = "student"

    def __init__(
        self,
        backbone: str = "resnet50",
        *,
        agreement: Literal["moco", "byol", "simclr"] = "moco",
        global_views: Literal["masked", "clean"] = "masked",
        queue_size: int = 65536,
        projector_norm: bool = False,
        temperature: float = 0.2,
        num_prototypes: int = 2048,
        num_matches: int = 20,
        relative_target: bool = False,
        head_width: int = 2048,
        local_norm: bool | None = None,
        weights: LossConfig = LossConfig(),
        teacher: TeacherConfig = TeacherConfig(),
        **common: Any,
    ) -> None:
        super().__init__(backbone, **common)
        if max(asdict(weights).values()) <= 0:
            raise ValueError("model.weights: at least one loss needs a weight above 0")
        if min(asdict(weights).values()) < 0:
            raise ValueError("model.weights: a weight below 0 would train against its loss; use 0")
        self.num_matches = num_matches
        self.weights = weights
        self.teacher_parameters = teacher
        self.first_momentum = teacher.momentum

        self.clean_pass = weights.contrastive > 0 and global_views == "clean"
        self.masked_pass = max(weights.reconstruction, weights.local) > 0 or not self.clean_pass
        self.compares_teacher = weights.contrastive > 0 and agreement != "simclr"
        self.teacher_pass = self.compares_teacher or weights.local > 0

        encoder = self.make_encoder(masked=self.masked_pass, pooled=weights.contrastive > 0)
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
            encoder.embed_dim, encoder.stride, encoder.in_chans, relative=relative_target
        )
        self.reconstruction_loss = MaskedReconstructionLoss(views=2)
        self.agreement = build_agreement(agreement, queue_size=queue_size, temperature=temperature)
        self.local_loss = LocalDistillationLoss(num_prototypes)
        self._freeze_left_out()
        self.prepare()

    def encoders(self) -> dict[str, MaskedEncoder]:
        return {"teacher": self.teacher_branch.encoder, "student": self.student.encoder}

    @property
    def teacher_branch(self) -> Branch:
        """The teacher's encoder and heads."""
        return cast(Branch, self.teacher.module)

    def _freeze_left_out(self) -> None:
        """Freeze what only losses of weight 0 would train: nothing waits for its gradients."""
        parts: dict[str, list[nn.Module]] = {
            "reconstruction": [self.reconstruct],
            "contrastive": [self.student.projector, self.agreement],
            "local": [self.student.local_head],
        }
        weights = asdict(self.weights)
        self.left_out += [
            parameter
            for name, modules in parts.items()
            for module in modules
            for parameter in module.requires_grad_(weights[name] > 0).parameters()
            if not weights[name]
        ]

    def losses(self, views: Views, temperature: float | None = None) -> Losses:
        """The terms of one step, unweighted, and the student's pooled features ``(2B, D)``.

        Args:
            views: two views of ``B`` images.
            temperature: temperature of the teacher's softmax over prototypes; default that of the
                epoch.

        Returns:
            A term of weight 0 is absent. The features carry no gradient; they are there to watch.
        """
        if temperature is None:
            temperature = self.temperature_of_epoch()
        terms: dict[str, Tensor] = {}
        student, teacher = self.student, self.teacher_branch
        if self.masked_pass:
            dense = student.encoder(self.arrange(views.masked), views.masks)  # (2B, D, N, N)
        if self.weights.reconstruction:
            terms |= self.reconstruct_masked(views, dense)
        if self.teacher_pass:
            with torch.no_grad():
                clean = teacher.encoder(self.arrange(views.images))  # (2B, D, N, N)
        seen = student.encoder(self.arrange(views.images)) if self.clean_pass else dense
        if self.weights.contrastive:
            queries, keys = student.embed(seen).chunk(2), None
            if self.compares_teacher:
                with torch.no_grad():
                    keys = teacher.embed(clean).chunk(2)
            terms["contrastive"] = self.agreement(queries, keys)
        if self.weights.local:
            terms["local"] = self.compare_cells(views, dense, clean, temperature=temperature)
        return terms, student.encoder.pool(seen.detach()).detach()

    def reconstruct_masked(self, views: Views, dense: Tensor) -> dict[str, Tensor]:
        """Both terms of the reconstruction from the student's ``(2B, D, N, N)``.

        The head is linear: what the losses read of visible cells, their sum, is that of one image.
        """
        with full_precision(dense):
            mean = self.reconstruct(dense.float().unflatten(0, (2, -1)).mean(dim=1))
        predicted = self.reconstruct(dense, views.masks)
        target = self.reconstruct.target(views.images)
        return self.reconstruction_loss(predicted, target, views.masks, mean)

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
        if not self.teacher_pass:
            encoders.append(self.teacher_branch.encoder)
        first = views.images.chunk(2)[0]
        # BatchNorm refuses a single value: one image may be one cell at the end of a CNN.
        clean = self.arrange(first if len(first) > 1 else views.images)
        for encoder in encoders:
            if previous := set_running_momentum(encoder, momentum):
                encoder(clean)
                set_running_momentum(encoder, previous[0])

    def after_losses(self, views: Views) -> None:
        batches = self.trainer.fit_loop.epoch_loop.total_batch_idx
        if batches % STATISTICS_EVERY == 0:
            self.follow_statistics(views, STATISTICS_MOMENTUM if batches else 1.0)

    def term_weights(self) -> dict[str, float]:
        """The two terms of the reconstruction share a weight."""
        weights = asdict(self.weights)
        shared = weights.pop("reconstruction")
        return {"spatial": shared, "frequency": shared, **weights}

    def watched(self) -> dict[str, Tensor]:
        used = self.local_loss.used
        return {} if used is None else {"prototypes/used": used}

    def temperature_of_epoch(self) -> float:
        """Temperature of the teacher's softmax over prototypes in this epoch."""
        p = self.teacher_parameters
        return teacher_temperature(
            self.current_epoch,
            first=p.first_temperature,
            last=p.last_temperature,
            warmup_epochs=p.warmup_epochs,
        )

    def update_teacher(self, momentum: float) -> None:
        self.teacher.update(self.student, momentum)

    def reconstruction(self, views: Views) -> Tensor | None:
        if not self.weights.reconstruction:
            return None
        predicted = self.reconstruct(self.student.encoder(views.masked, views.masks))
        return self.reconstruct.restore(predicted, views.images)

    def provenance(self) -> dict[str, Any]:
        return {
            "weights": asdict(self.weights),
            "relative_target": self.reconstruct.relative,
        }
