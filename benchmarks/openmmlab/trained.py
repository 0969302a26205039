"""A trained model of OpenMMLab, ready to be applied to the pixels of a scene."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner.checkpoint import get_torch_safe_globals
from torch import Tensor

from benchmarks.openmmlab.experiment import build_runner
from cmid.checkpoints.weight_files import open_weights

# All backbones of this project divide it.
STRIDE = 32


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """What a configuration and its checkpoint are.

    Attributes:
        model: in evaluation mode. classes: what it tells apart.
        colours: how the classes are painted, None where the checkpoint does not remember.
        mean, std: ``(C, 1, 1)`` of the bands, in stored units.
    """

    model: Any
    classes: tuple[str, ...]
    colours: Sequence[tuple[int, int, int]] | None
    mean: Tensor
    std: Tensor

    @property
    def fill(self) -> list[float]:
        """What missing pixels take: the mean of each band."""
        return self.mean.flatten().tolist()

    def standardize(self, pixels: Tensor) -> Tensor:
        """Stored values ``(B, C, H, W)``, bands in the scene's order, as the model reads them.

        What the loader of training turned round, and its preprocessor back, is not here.
        """
        return (pixels.to(self.mean.device) - self.mean) / self.std


def load_trained(config: Config, checkpoint: Path, device: str) -> TrainedModel:
    """Build a model with the weights of a checkpoint.

    Args:
        config: as trained. checkpoint: its ``.pth``. device: where it runs.

    Raises:
        FileNotFoundError: no checkpoint.
        ValueError: a checkpoint that does not name its classes, or is of another model.
    """
    # With the weights lies the history of the log, in a class of mmengine's.
    with torch.serialization.safe_globals(get_torch_safe_globals()):
        meta = open_weights(checkpoint).get("meta", {}).get("dataset_meta")
    if not isinstance(meta, Mapping) or not meta.get("classes"):
        raise ValueError(
            f"{checkpoint} does not tell its classes: give one that tools/train.py wrote"
        )
    colours = [tuple(colour) for colour in meta.get("palette") or ()] or None
    with tempfile.TemporaryDirectory() as folder:
        config.work_dir = folder
        # mmengine keeps what writes pictures by name and second, with a folder that is gone then.
        config.experiment_name = Path(folder).name
        runner = build_runner(config, trained=checkpoint)
        runner.load_or_resume()
    model: Any = runner.model.eval().to(device)
    processor = model.data_preprocessor
    return TrainedModel(
        model,
        tuple(str(name) for name in meta["classes"]),
        colours,
        processor.mean.to(device),
        processor.std.to(device),
    )


def image_size(config: Config) -> int | None:
    """Side of the images that a test makes of all; None where it takes them as they are."""
    size = None
    for step in config.test_dataloader.dataset.get("pipeline", ()):
        wanted = step.get("crop_size", step.get("scale"))
        size = size if wanted is None else int(np.max(wanted))
    return size
