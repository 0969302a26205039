"""A trained segmentation model of OpenMMLab as a model of maps."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config
from mmseg.models import EncoderDecoder
from torch import Tensor

from benchmarks.openmmlab.trained import STRIDE, load_trained


class SegmentationModel:
    """Scores of classes for every pixel, see `cmid.inference.streaming.DenseModel`.

    Models of change read two dates, the bands of the second behind those of the first.

    Args:
        config: as trained, of mmsegmentation's encoder and decoder.
        checkpoint: its ``.pth``.
        device: where it runs.

    Attributes:
        classes, colours: what the classes are called, and how they are painted, as the checkpoint
            remembers.
        dates: how many images it compares.

    Raises:
        FileNotFoundError: no checkpoint.
        ValueError: a model of another task, or a checkpoint that does not name its classes.
    """

    stride, cell = STRIDE, 1

    def __init__(self, config: Config, checkpoint: Path, device: str) -> None:
        self.trained = trained = load_trained(config, checkpoint, device)
        self.model, self.fill = trained.model, trained.fill
        self.classes, self.colours = trained.classes, trained.colours
        if not isinstance(self.model, EncoderDecoder):
            raise ValueError(
                f"{config.filename} trains a {type(self.model).__name__}: no segmentation"
            )
        self.dates = getattr(self.model.data_preprocessor, "dates", 1)
        self.channels = self.model.out_channels
        if self.channels != len(self.classes):
            raise ValueError(
                f"{config.filename} tells {self.channels} classes apart, {checkpoint} names"
                f" {len(self.classes)}"
            )

    def __call__(self, pixels: Tensor) -> Tensor:
        inputs = self.trained.standardize(pixels)
        shape = tuple(pixels.shape[-2:])
        meta = {"ori_shape": shape, "img_shape": shape, "pad_shape": shape, "padding_size": [0] * 4}
        return self.model.encode_decode(inputs, [meta] * len(inputs))
