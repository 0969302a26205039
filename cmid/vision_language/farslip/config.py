"""What FarSLIP's losses are made of: weights, teacher, target; and what each of them reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RegionLoss = Literal["unique", "published"]


@dataclass(frozen=True)
class FarSLIPLossConfig:
    """Weights of the three losses; 0 leaves a loss (and the passes that only it needs) out.

    The defaults are the paper's. Its published training gathers the features of whole images over
    four processes without gradient, so that both towers feel a quarter of that loss; the losses
    here carry their whole gradient whatever the number of processes. The configurations of both
    stages have the weights that the published training amounts to.

    Attributes:
        image_text: whole images against their captions.
        distillation: patches of a region against the region seen on its own (stage 1).
        region_text: regions seen on their own against categories and captions (stage 2).
    """

    image_text: float = 1.0
    distillation: float = 0.1
    region_text: float = 0.0

    def __post_init__(self) -> None:
        given = (self.image_text, self.distillation, self.region_text)
        if min(given) < 0:
            raise ValueError(f"model.weights: no loss has a weight below 0, not {min(given)}")
        if max(given) == 0:
            raise ValueError("model.weights: at least one loss needs a weight above 0")

    @property
    def texts(self) -> bool:
        """Whether a loss reads texts, and with them the scale of similarities."""
        return self.image_text > 0 or self.region_text > 0


@dataclass(frozen=True)
class DistillationConfig:
    """What a region's patches learn from.

    Attributes:
        teacher: who sees the cropped region: the trained weights themselves, with gradient
            (``shared``, as published), their moving average (``ema``), or the weights at the
            start (``frozen``).
        target: ``patch``, the mean of the crop's patches (as published); ``cls``, its pooled
            feature (CLIPSelf, arXiv:2310.01403); ``both``, the average of the two losses.
        momentum: momentum of the moving average, per optimizer step.
    """

    teacher: Literal["shared", "ema", "frozen"] = "shared"
    target: Literal["patch", "cls", "both"] = "patch"
    momentum: float = 0.99

    @property
    def trains_pooled(self) -> bool:
        """Whether a gradient reaches the pooled read-out of the trained tower."""
        return self.teacher == "shared" and self.target != "patch"
