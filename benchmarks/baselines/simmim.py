"""SimMIM (arXiv:2111.09886): the raw pixels of masked blocks, by a light head."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from cmid.methods import PretrainMethod
from cmid.methods.base import Losses
from cmid.models import MaskedEncoder, ReconstructionHead
from cmid.precision import full_precision
from cmid.views import Views
from cmid.views.masks import expand_mask


class SimMIM(PretrainMethod):
    """L1 distance of masked pixels, for CNNs as for transformers.

    Masked pixels are filled with the view's mean before the stem, whose kernels would else see
    them across the border of a block; behind the stem the mask token takes their place.

    Args:
        backbone: any timm model with spatial output.
        mask_mode: how the mask token meets the stem's output; SimMIM replaces it.
        relative_target: reconstruct each view relative to its own mean and standard deviation.
        **common: options of every method, see `PretrainMethod`.
    """

    def __init__(
        self,
        backbone: str = "resnet50",
        *,
        mask_mode: Literal["add", "replace"] = "replace",
        relative_target: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(backbone, mask_mode=mask_mode, **common)
        self.encoder = self.make_encoder(pooled=False)
        self.reconstruct = ReconstructionHead(
            self.encoder.embed_dim,
            self.encoder.stride,
            self.encoder.in_chans,
            relative=relative_target,
        )

    def encoders(self) -> dict[str, MaskedEncoder]:
        return {"encoder": self.encoder}

    def losses(self, views: Views) -> Losses:
        dense = self.encoder(self.arrange(views.masked), views.masks)  # (2B, D, N, N)
        loss = masked_l1(
            self.reconstruct(dense), self.reconstruct.target(views.images), views.masks
        )
        return {"reconstruction": loss}, self.encoder.pool(dense.detach()).detach()

    def reconstruction(self, views: Views) -> Tensor:
        predicted = self.reconstruct(self.encoder(self.arrange(views.masked), views.masks))
        return self.reconstruct.restore(predicted, views.images)

    def provenance(self) -> dict[str, Any]:
        return {
            "weights": {"reconstruction": 1.0},
            "relative_target": self.reconstruct.relative,
        }


def masked_l1(pred: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute error over masked pixels (arXiv:2111.09886, section 3.4).

    Args:
        pred: ``(B, C, H, W)`` reconstructed pixels.
        target: ``(B, C, H, W)`` true pixels.
        mask: ``(B, h, w)`` blocks, True or 1 where masked.

    Returns:
        Scalar, float32; 0 where nothing is masked.
    """
    with full_precision(pred):
        pixels = expand_mask(mask, pred.shape[-2:]).float()  # (B, 1, H, W)
        error = (pred.float() - target.float()).abs() * pixels
        return error.sum() / (pixels.sum() * pred.shape[1]).clamp(min=1)
