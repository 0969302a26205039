"""A trained segmentation model of OpenMMLab as a model of maps."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmseg.models import EncoderDecoder
from torch import Tensor

from benchmarks.openmmlab.experiment import build_runner
from cmid.checkpoints.weight_files import open_weights

# All backbones of this project divide it.
_STRIDE = 32


class SegmentationModel:
    """Scores of classes for every pixel, see `cmid.inference.streaming.DenseModel`.

    Args:
        config: as trained, of mmsegmentation's encoder and decoder.
        checkpoint: its ``.pth``.
        device: where it runs.

    Attributes:
        classes, colours: what the classes are called, and how they are painted, as the checkpoint
            remembers.

    Raises:
        FileNotFoundError: no checkpoint.
        ValueError: a model of another task, or a checkpoint that does not name its classes.
    """

    stride, cell = _STRIDE, 1

    def __init__(self, config: Config, checkpoint: Path, device: str) -> None:
        meta = open_weights(checkpoint).get("meta", {}).get("dataset_meta")
        if not isinstance(meta, Mapping) or not meta.get("classes"):
            raise ValueError(
                f"{checkpoint} does not tell its classes: give one that tools/train.py wrote"
            )
        self.classes = tuple(str(name) for name in meta["classes"])
        self.colours = [tuple(colour) for colour in meta.get("palette") or ()] or None
        with tempfile.TemporaryDirectory() as folder:
            config.work_dir, config.load_from = folder, str(checkpoint)
            runner = build_runner(config)
            runner.load_or_resume()
        model: Any = runner.model
        if not isinstance(model, EncoderDecoder):
            raise ValueError(f"{config.filename} trains a {type(model).__name__}: no segmentation")
        self.model = model.eval().to(device)
        self.channels = model.out_channels
        if self.channels != len(self.classes):
            raise ValueError(
                f"{config.filename} tells {self.channels} classes apart, {checkpoint} names"
                f" {len(self.classes)}"
            )
        processor = model.data_preprocessor
        # The scene's bands are in order; what the loader of training turned round is not here.
        self.mean, self.std = processor.mean.to(device), processor.std.to(device)
        self.fill = self.mean.flatten().tolist()

    def __call__(self, pixels: Tensor) -> Tensor:
        inputs = (pixels.to(self.mean.device) - self.mean) / self.std
        shape = tuple(pixels.shape[-2:])
        meta = {"ori_shape": shape, "img_shape": shape, "pad_shape": shape, "padding_size": [0] * 4}
        return self.model.encode_decode(inputs, [meta] * len(inputs))
