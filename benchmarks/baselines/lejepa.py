"""LeJEPA (arXiv:2511.08544): views agree, and their embeddings are normally distributed."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from benchmarks.baselines.sigreg import SIGReg
from cmid.methods import PretrainMethod
from cmid.methods.base import Losses
from cmid.models import MaskedEncoder
from cmid.precision import full_precision
from cmid.views import Views


class LeJEPA(PretrainMethod):
    r"""Joint embedding without teacher, stopped gradient, negatives or queue.

    .. math:: L = (1 - \lambda) \operatorname{mean}_v \|z_v - \bar z\|^2
              + \lambda \operatorname{mean}_v \operatorname{SIGReg}(z_v)

    The published method has two large and several small views; here it has the two of all methods.

    Args:
        backbone: any timm model with spatial output.
        trade_off: share :math:`\lambda` of the regularisation.
        embed_width: width of the embeddings that are compared.
        head_width: hidden width of the projector.
        directions: random directions of SIGReg at each step.
        **common: options of every method, see `PretrainMethod`.
    """

    def __init__(
        self,
        backbone: str = "resnet50",
        *,
        trade_off: float = 0.05,
        embed_width: int = 64,
        head_width: int = 2048,
        directions: int = 256,
        **common: Any,
    ) -> None:
        super().__init__(backbone, **common)
        if not 0 < trade_off < 1:
            raise ValueError(f"model.trade_off {trade_off}: a share between 0 and 1, such as 0.05")
        self.trade_off = trade_off
        self.encoder = self.make_encoder(masked=False)
        self.head = nn.Sequential(
            *_hidden(self.encoder.pooled_dim, head_width),
            *_hidden(head_width, head_width),
            nn.Linear(head_width, embed_width),
        )
        self.sigreg = SIGReg(directions)

    def encoders(self) -> dict[str, MaskedEncoder]:
        return {"encoder": self.encoder}

    def losses(self, views: Views) -> Losses:
        features = self.encoder.pooled(self.arrange(views.images))  # (2B, D)
        embeddings = self.head(features).unflatten(0, (2, -1))  # (2, B, E)
        terms = {"invariance": invariance(embeddings), "sigreg": self.sigreg(embeddings)}
        return terms, features.detach()

    def term_weights(self) -> dict[str, float]:
        return {"invariance": 1 - self.trade_off, "sigreg": self.trade_off}


def invariance(embeddings: Tensor) -> Tensor:
    """Mean squared distance of ``(V, B, E)`` embeddings from the mean of an image's ``V`` views."""
    with full_precision(embeddings):
        embeddings = embeddings.float()
        return (embeddings - embeddings.mean(dim=0)).square().mean()


def _hidden(width: int, out: int) -> list[nn.Module]:
    return [nn.Linear(width, out), nn.BatchNorm1d(out), nn.ReLU()]
