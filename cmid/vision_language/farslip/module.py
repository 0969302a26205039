"""FarSLIP (arXiv:2511.14901) as a LightningModule; both stages are configurations of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor

import cmid
from cmid.models import EMATeacher
from cmid.models.dual_encoder import ImageFeatures
from cmid.objective import require_finite, weighted_sum
from cmid.optimization import OptimizerConfig, configure_training, seed_step
from cmid.views import ColourConfig
from cmid.views.colour import ColourAugmentation
from cmid.vision_language.clip.config import CLIPConfig
from cmid.vision_language.clip.contrastive import (
    gather_pairs,
    multi_positive_loss,
    pairwise_sigmoid_loss,
)
from cmid.vision_language.clip.model import MAX_LOGIT_SCALE
from cmid.vision_language.clip.storage import starting_clip
from cmid.vision_language.farslip.config import DistillationConfig, FarSLIPLossConfig, RegionLoss
from cmid.vision_language.farslip.freezing import freeze_unreached, lock_tower
from cmid.vision_language.farslip.losses import (
    multi_positive_cross_entropy,
    region_distillation_loss,
)
from cmid.vision_language.regions import pool_regions


class FarSLIP(L.LightningModule):
    """A CLIP whose patches mean something.

    Whole images and the crops of regions pass the image tower in one batch (BatchNorm, where a
    tower has it, sees both); each image is read once, pooled and dense. Losses are those of the
    batch of all processes.

    Args:
        clip: where the towers come from.
        weights: weight of each loss.
        distillation: teacher and target of stage 1.
        similarity: ``infonce``, or SigLIP's pairwise loss for whole images (``sigmoid``), whose
            scale and bias start at 10 and -10 where the towers bring no bias of their own.
        region_loss: ``unique``, a softmax over the different texts, or ``published``, over one text
            a region, equal ones repeated (see `multi_positive_cross_entropy`). The published run
            has one template (``data.source.init_args.templates``) and either categories or captions
            (``data.view.init_args.region_text``).
        class_balance: every text of the region loss ``unique`` weighs the same, however frequent.
        lock: a tower that stays as it is: ``image`` is LiT (a new projection is still trained).
        colours: colour augmentation of images and crops; None for none, as stage 1 was published.
        optimizer: optimizer and schedule.
        grad_checkpointing: recompute activations in the backward pass to save memory.
        seed: random seed of what is drawn on the device (colour).
    """

    def __init__(
        self,
        clip: CLIPConfig = CLIPConfig(),
        *,
        weights: FarSLIPLossConfig = FarSLIPLossConfig(),
        distillation: DistillationConfig = DistillationConfig(),
        similarity: Literal["infonce", "sigmoid"] = "infonce",
        region_loss: RegionLoss = "unique",
        class_balance: bool = False,
        lock: Literal["none", "image", "text"] = "none",
        colours: ColourConfig | None = None,
        optimizer: OptimizerConfig = OptimizerConfig(
            name="adamw",
            base_lr=1.6e-6,
            weight_decay=1.0,
            betas=(0.9, 0.98),
            eps=1e-6,
            warmup_epochs=0.03,
            warmup_factor=1e-3,
            min_lr=0.0,
        ),
        grad_checkpointing: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if class_balance and region_loss == "published":
            raise ValueError("model.class_balance needs model.region_loss=unique")
        self.weights = weights
        self.distillation = distillation
        self.similarity = similarity
        self.region_loss = region_loss
        self.class_balance = class_balance
        self.optimizer_parameters = optimizer
        self.seed = seed
        torch.manual_seed(seed)
        self.clip = starting_clip(clip, sigmoid=similarity == "sigmoid")
        # What the start was, whatever its defaults will be.
        scale, bias = self.clip.start_of_similarity
        self.parameters_of_clip = replace(clip, logit_scale=scale, logit_bias=bias)
        self.locked = lock_tower(self.clip, lock)
        freeze_unreached(self.clip, weights, distillation, sigmoid=similarity == "sigmoid")
        self.colour = None if colours is None else ColourAugmentation(colours)
        if grad_checkpointing:
            for tower in (*self.clip.image.pretrained_modules(), self.clip.text.module):
                tower.set_grad_checkpointing()
        own_teacher = weights.distillation > 0 and distillation.teacher != "shared"
        self.teacher = EMATeacher(self.clip.image) if own_teacher else None

    def losses(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The terms of one step, unweighted; those of weight 0 are absent.

        Args:
            batch: a batch of :class:`cmid.vision_language.data.ImageTextData`.
        """
        images, regions = self._colour(batch["images"]), batch["regions"]
        crops = self._colour(batch["region_images"])
        whole, seen, target = self._read(images, crops)
        terms: dict[str, Tensor] = {}
        if self.weights.image_text:
            terms["image_text"] = self._image_text(whole.pooled, batch["texts"])
        if self.weights.distillation:
            assert target is not None
            terms["distillation"] = self._distil(pool_regions(whole.dense, regions), target)
        if self.weights.region_text:
            assert seen is not None
            terms["region_text"] = self._region_text(
                seen.pooled, batch["region_texts"], batch["region_keys"]
            )
        return terms

    def _read(
        self, images: Tensor, crops: Tensor
    ) -> tuple[ImageFeatures, ImageFeatures | None, ImageFeatures | None]:
        """Features of images, of crops by the trained tower, and of crops by the teacher."""
        tower, weights = self.clip.image, self.weights
        shared = weights.distillation > 0 and self.teacher is None
        if weights.region_text or shared:
            pooled, dense = tower.read(torch.cat([images, crops]))
            whole = ImageFeatures(pooled[: len(images)], dense[: len(images)])
            seen = ImageFeatures(pooled[len(images) :], dense[len(images) :])
        else:
            whole, seen = tower.read(images), None
        if self.teacher is None:
            return whole, seen, seen
        if not len(crops):  # BatchNorm refuses an empty batch
            return whole, seen, ImageFeatures(whole.pooled[:0].detach(), whole.dense[:0].detach())
        with torch.no_grad():
            return whole, seen, self.teacher.module.read(crops)  # type: ignore[operator]

    def _image_text(self, images: Tensor, captions: Sequence[str]) -> Tensor:
        different = list(dict.fromkeys(captions))
        texts = self.clip.encode_texts(different)
        pairs = gather_pairs(images, texts, captions, different)
        if self.similarity == "sigmoid":
            assert self.clip.logit_bias is not None
            return pairwise_sigmoid_loss(*pairs, self.clip.scale, self.clip.logit_bias)
        return multi_positive_loss(*pairs, self.clip.scale)

    def _distil(self, regions: Tensor, target: ImageFeatures) -> Tensor:
        terms = []
        if self.distillation.target in ("patch", "both"):
            terms.append(region_distillation_loss(regions, target.dense.mean(dim=(2, 3))))
        if self.distillation.target in ("cls", "both"):
            terms.append(region_distillation_loss(regions, target.pooled))
        return torch.stack(terms).mean()

    def _region_text(self, regions: Tensor, texts: Sequence[str], keys: Sequence[str]) -> Tensor:
        different = dict(zip(texts, keys, strict=True))
        # A process without regions still takes part: gradients of all parameters are awaited.
        embedded = self.clip.encode_texts(list(different) or [""])[: len(different)]
        pairs = gather_pairs(regions, embedded, keys, list(different.values()))
        if self.region_loss == "published":
            return multi_positive_cross_entropy(*pairs, self.clip.scale)
        return multi_positive_loss(*pairs, self.clip.scale, balance=self.class_balance)

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """Weighted sum of the terms."""
        return weighted_sum(terms, asdict(self.weights))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        seed_step(self, self.seed)
        terms = self.losses(batch)
        total = self.total(terms)
        require_finite(total, terms, step=self.global_step)
        size = len(batch["images"])
        self.log_dict({f"loss/{k}": v.detach() for k, v in terms.items()}, batch_size=size)
        self.log("loss", total.detach(), prog_bar=True, batch_size=size)
        self.log("logit_scale", self.clip.scale.detach(), batch_size=size)
        return total

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        terms, size = self.losses(batch), len(batch["images"])
        self.log_dict(
            {f"val/{name}": term for name, term in terms.items()}, batch_size=size, sync_dist=True
        )

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        with torch.no_grad():
            self.clip.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
        if self.teacher is not None and self.distillation.teacher == "ema":
            self.teacher.update(self.clip.image, self.distillation.momentum)

    def train(self, mode: bool = True) -> FarSLIP:
        super().train(mode)
        for module in self.locked:
            module.eval()
        return self

    def no_weight_decay(self) -> set[str]:
        """Position embeddings and tokens; biases, norms and scales are left out by their shape."""
        ends = ("positional_embedding", "pos_embed", "cls_token", "reg_token", "class_embedding")
        return {name for name, _ in self.named_parameters() if name.endswith(ends)}

    def configure_optimizers(self) -> Any:
        return configure_training(self, self.optimizer_parameters)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what an export needs to rebuild and to describe the model, as plain values."""
        statistics = self.clip.image.statistics.to_plain()
        checkpoint["cmid"] = {
            "version": cmid.__version__,
            "method": "FarSLIP",
            "model_cfg": self.clip.model_cfg,
            "origin": self.clip.origin | {"statistics": statistics},
            "start": asdict(self.parameters_of_clip),
            "seed": self.seed,
            "global_step": int(self.global_step),
            "epoch": int(self.current_epoch),
            "weights": asdict(self.weights),
            "distillation": asdict(self.distillation),
        }

    def on_fit_start(self) -> None:
        """Losses of regions without any would be 0, silently; another size fails far from here."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        view = getattr(data, "view", None)
        kind = getattr(view, "regions", None)
        if view is not None and view.size != self.clip.size:
            raise ValueError(
                f"data.view.init_args.size {view.size} differs from the image tower's"
                f" {self.clip.size}: set one of them (model.clip.image_size) to the other"
            )
        if self.weights.region_text and kind in ("none", "random"):
            raise ValueError(
                f"model.weights.region_text needs data.view.init_args.regions=annotated, not {kind}"
            )
        if self.weights.distillation and kind == "none":
            raise ValueError(
                "model.weights.distillation needs regions: set data.view.init_args.regions to"
                " random or annotated, or the weight to 0"
            )
        if kind == "annotated" and not getattr(data.source, "has_regions", True):
            raise ValueError(
                f"data.source {type(data.source).__name__} has captions only, no annotated regions:"
                " take RegionTexts or CocoRegions, or another data.view.init_args.regions"
            )

    def _colour(self, images: Tensor) -> Tensor:
        """Stored values, with random colour, standardised."""
        standardize = self.clip.image.standardize
        with torch.autocast(self.device.type, enabled=False):
            unit = standardize.to_unit(images)
            if self.colour is not None and self.training and len(unit):
                unit = self.colour(unit.clamp(0, 1))
            return standardize.from_unit(unit)
