"""Where a scorer comes from, what of it is trained, and how; imports nothing heavy."""

from __future__ import annotations

import math
import typing
from dataclasses import dataclass
from typing import Literal

from cmid.evaluation.config import Fit

Part = Literal["head", "vision", "language"]
PARTS: tuple[Part, ...] = typing.get_args(Part)


@dataclass(frozen=True)
class ScorerConfig:
    """Where a scorer comes from: one of the first three.

    Attributes:
        scorer: folder of an earlier scorer (as of the stage before), or of a released ScoreRS.
        clip: a CLIP that gets a new head: folder of a trained one, ``NAME:TAG`` or ``NAME:FILE``
            for weights of open_clip's form, ``NAME`` (or the path of a JSON) for random ones.
        language_model: folder or name, on the hub, of an image-text-to-text model that gets a new
            head.
        hidden, fit, patches: head and images of a scorer on a CLIP, see `DualEncoderScorer`.
        dtype: floating type of a language model's weights; the head is float32.
        max_pixels: largest area of an image for a language model; None keeps the processor's.
    """

    scorer: str | None = None
    clip: str | None = None
    language_model: str | None = None
    hidden: int = 512
    fit: Fit = "crop"
    patches: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        given = [self.scorer, self.clip, self.language_model]
        if sum(each is not None for each in given) != 1:
            raise ValueError(
                "name one start: model.start.scorer, model.start.clip or model.start.language_model"
            )


@dataclass(frozen=True)
class LowRankConfig:
    """Low-rank adapters of linear layers (LoRA, arXiv:2106.09685), merged when the run is over.

    Attributes:
        rank: rank of an adapter; 0 trains the towers themselves.
        alpha: an adapter is scaled by ``alpha / rank``.
        dropout: of what an adapter reads.
    """

    rank: int = 0
    alpha: float = 32.0
    dropout: float = 0.0


@dataclass(frozen=True)
class PreferenceLossConfig:
    """How scores are compared.

    Attributes:
        name: ``ranking`` is Plackett-Luce over all candidates of a preference; ``pairs`` is
            Bradley-Terry, averaged over the pairs of each preference.
        margin: lead of the better candidate that ``pairs`` asks for.
        centring: weight of what keeps scores around 0, with ``pairs``.
        contrast: weight of CLIP's own loss beside, for a scorer on a CLIP: towers that are trained
            by preferences alone learn more slowly what an image shows at all.
    """

    name: Literal["ranking", "pairs"] = "ranking"
    margin: float = 0.0
    centring: float = 0.0
    contrast: float = 0.0

    def __post_init__(self) -> None:
        if self.name == "ranking" and (self.margin or self.centring):
            raise ValueError("model.loss.margin and centring need model.loss.name=pairs")
        if not 0 <= self.contrast < math.inf:
            raise ValueError(f"model.loss.contrast {self.contrast} is not 0 or more")


@dataclass(frozen=True)
class RateConfig:
    """Learning rates of the parts, as factors of the optimizer's.

    Attributes:
        head: of the head, but for its fusion encoder.
        fusion: of the head's fusion encoder, where it has one: next to 0, what that has learned of
            relations outlives training on everything else.
        vision, language: of the towers.
    """

    head: float = 1.0
    fusion: float = 1.0
    vision: float = 1.0
    language: float = 1.0
