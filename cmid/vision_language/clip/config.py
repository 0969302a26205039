"""Where a CLIP comes from and how its patches are read; imports nothing heavy."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Literal

DenseMode = Literal[
    "vanilla",
    "maskclip",
    "maskclip_published",
    "sclip",
    "sclip_published",
    "clearclip",
    "segearth",
]

DENSE_MODES: tuple[DenseMode, ...] = typing.get_args(DenseMode)
DEFAULT_DENSE_MODE: DenseMode = "segearth"


@dataclass(frozen=True)
class CLIPConfig:
    """Where the two towers come from.

    Attributes:
        name: a model of open_clip (``ViT-B-32``, ``RN50``, ...), the path of a JSON file of the
            form of its model configurations, or (for training) a folder with a trained CLIP.
        weights: a tag of open_clip (``openai``, ``laion2b_s34b_b79k``: downloaded), or a
            ``.safetensors`` or ``.pt`` file; None starts from random weights.
        backbone: image tower in place of open_clip's: an exported folder, here or
            ``hf-hub:OWNER/NAME``, a checkpoint, ``random:NAME`` or a timm name, with a
            projection of its own.
        image_size: pixels per side; None takes that of the tower.
        context_length: tokens of a text; None takes open_clip's, 248 stretches 77 (Long-CLIP).
        dense_mode: how the last block of a vision transformer is read for patch features; None
            takes the folder's own, and ``segearth`` for others.
        logit_scale: start of the natural logarithm of the factor of similarities; None takes that
            of the weights, or where there are none ln(1 / 0.07), and ln 10 for SigLIP's loss.
        logit_bias: start of the bias of SigLIP's loss; None takes that of the weights, or where
            they have none -10 for SigLIP's loss, and no bias for InfoNCE.
    """

    name: str = "ViT-B-32"
    weights: str | None = None
    backbone: str | None = None
    image_size: int | None = None
    context_length: int | None = None
    dense_mode: DenseMode | None = None
    logit_scale: float | None = None
    logit_bias: float | None = None
