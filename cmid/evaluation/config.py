"""What evaluations are asked; imports nothing heavy, so that commands can tell it at once."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import Annotated, Literal, get_args

from cmid.options import at_least, option

Fit = Literal["crop", "squash"]
Identity = Literal["name", "pixels"]
TaskName = Literal[
    "knn", "linear", "fewshot", "retrieval", "clustering", "stages", "regression", "dense"
]
LABEL_TASKS: tuple[TaskName, ...] = get_args(TaskName)[:5]
PREFIX = "a satellite image. "


@dataclass(frozen=True)
class SlidingConfig:
    """How an image becomes class probabilities.

    Attributes:
        long_side: pixels that the longer side is brought to; None: twice the model's size (448 for
            224). A shorter side below the model's size is brought to that size instead, with the
            aspect ratio kept.
        stride: pixels between windows; None: half the model's size.
        scale: factor of cosine similarities before the softmax; None: the model's.
        cls_weight: share of the pooled feature's similarity that is taken off every patch's, which
            frees patches of what is said of the whole image (SegEarth-OV, arXiv:2410.01768).
        batch_size: windows at a time.
        antialias: bring the image to its size bicubic with antialiasing; False: bilinear without,
            as published, which aliases where an image shrinks.
    """

    long_side: int | None = None
    stride: int | None = None
    scale: float | None = 50.0
    cls_weight: float = 0.0
    batch_size: int = 16
    antialias: bool = True


def _devices(text: str) -> str:
    if text != "auto" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number nor 'auto'")
    return text


def label_count(text: str) -> str:
    if text != "all" and not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number from 1 on nor 'all'")
    return text


@dataclass(frozen=True)
class LabelConfig:
    """Curves of label efficiency.

    Attributes:
        labels: in place of tasks, accuracy with so many labelled images a class (1 5 10 50 all):
            frozen and fine-tuned, beside random weights frozen and trained from scratch.
        draws: draws of labelled images for trainings of the whole network (--seeds: for linear
            probes).
        steps: optimizer steps of each training, whatever its weights and labels.
        train_batch: images of a step.
        train_lr: highest learning rate (AdamW).
    """

    labels: tuple[str, ...] = option((), type=label_count, metavar="N")
    draws: Annotated[int, at_least(1)] = 3
    steps: Annotated[int, at_least(1)] = 400
    train_batch: Annotated[int, at_least(2)] = 64
    train_lr: Annotated[float, at_least(0)] = 1e-3


@dataclass(frozen=True)
class ComparisonConfig:
    """Backbones whose frozen features are measured on labelled images.

    Attributes:
        backbones: see above; one or several.
        data: see above.
        test: test part, when it does not lie beside train/.
        tasks: knn, linear, fewshot, retrieval, clustering; regression of --targets; dense of masks
            (default: all that the data allow); stages (kNN and collapse of each stage).
        multilabel: CSV with several labels an image (tasks without few-shot and clustering).
        targets: CSV with numbers of each image, which regression predicts.
        num_classes: classes of masks, 0 and up, 255 for pixels to ignore (--foreground: two).
        bands: read folders and lists of rasters: their bands by name, counted from 1, or all.
        sensor: sensor of the rasters, such as sentinel2_l2a, or a JSON file (cmid.data.sensors).
        zero_ignored: masks hold 1 and up, and 0 for pixels to ignore.
        foreground: stored label of class 1 of two, such as 255 of black and white masks.
        leaks: count and name test images that are near-duplicates of training images.
        pretraining: what the backbones were pretrained on, to look for test images there, too.
        drop_leaks: leave such test images out.
        size: pixels per side (default: the backbone's).
        k: neighbours of kNN.
        shots: labelled images of each class in few-shot classification.
        seeds: draws of few-shot images.
        seed: random seed of the division into train and test, and of untrained weights.
        batch_size: images at a time.
        num_workers: processes that read images.
        precision: floating-point precision of the forward pass, and of trainings of --labels.
        accelerator: cpu, cuda, mps or auto.
        devices: how many (default: all).
        cache: folder for features; a second run reads them.
        out: JSON file to write; with it come .csv, .png, and .safetensors for --earlier.
        earlier: files of --out of earlier calls on the same test images, to compare with.
    """

    backbones: tuple[str, ...] = field(metadata={"option": {"metavar": "BACKBONE"}})
    data: str
    test: str | None = None
    tasks: tuple[TaskName, ...] = option((), metavar="TASK")
    multilabel: str | None = None
    targets: str | None = None
    num_classes: Annotated[int, at_least(2, 255)] | None = None
    bands: tuple[int | str, ...] | None = None
    sensor: str | None = None
    zero_ignored: bool = False
    foreground: Annotated[int, at_least(0, 255)] | None = None
    leaks: bool = False
    pretraining: str | None = None
    drop_leaks: bool = False
    size: Annotated[int, at_least(1)] | None = None
    k: Annotated[int, at_least(1)] = 20
    shots: tuple[Annotated[int, at_least(1)], ...] = (1, 5, 10)
    seeds: Annotated[int, at_least(1)] = 10
    seed: int = 0
    batch_size: Annotated[int, at_least(1)] = 256
    num_workers: Annotated[int, at_least(0)] = 0
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    accelerator: str = "auto"
    devices: str = option("auto", type=_devices)
    cache: str | None = None
    out: str | None = None
    earlier: tuple[str, ...] = option((), metavar="FILE")

    def __post_init__(self) -> None:
        if self.out and self.out.endswith((".csv", ".png", ".safetensors")):
            raise ValueError(f"--out {self.out}: name the JSON file, the others come beside it")
