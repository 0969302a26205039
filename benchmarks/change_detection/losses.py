"""The Dice loss of changed and unchanged pixels."""

from __future__ import annotations

from typing import Any

from kornia.losses import dice_loss
from mmseg.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class BatchDiceLoss(nn.Module):
    """Dice loss of the labelled pixels of a batch, averaged over the classes that they hold.

    For class c, with probabilities p and labels y: ``1 - 2 sum(p_c y_c) / sum(p_c + y_c)``
    (arXiv:1606.04797). Sums run over the whole batch, since most patches of a pair hold no change
    and have no Dice of their own. mmsegmentation's ``DiceLoss`` counts the probabilities of
    ignored pixels in the denominator, and all classes as one.

    Args:
        loss_weight: factor. loss_name: in the log; losses start with ``loss_``.
    """

    def __init__(self, loss_weight: float = 1.0, loss_name: str = "loss_dice") -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.loss_name = loss_name

    def forward(self, logits: Tensor, labels: Tensor, ignore_index: int = 255, **_: Any) -> Tensor:
        """Scalar loss of logits ``(B, K, H, W)`` and labels ``(B, H, W)``."""
        one = logits.float().permute(1, 0, 2, 3).flatten(2)[None]  # (1, K, B, H*W)
        loss = dice_loss(one, labels.flatten(1)[None], average="macro", ignore_index=ignore_index)
        return self.loss_weight * loss
