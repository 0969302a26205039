"""The models that are evaluated, on their device."""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks.vision_language.outcome import ModelsConfig
from cmid.models.dual_encoder import ImageTextModel
from cmid.vision_language.clip.storage import load_clip


def loader(models: ModelsConfig) -> Callable[[str], ImageTextModel]:
    """What loads a model by its specification.

    Raises:
        ValueError: no such device here, which is checked before any work.
    """
    name = models.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"--device {name}: there is no such device here ({reason})") from error

    def load(spec: str) -> ImageTextModel:
        torch.manual_seed(0)  # of untrained models
        return load_clip(spec, dense_mode=models.dense_mode).to(name)

    return load
