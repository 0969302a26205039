"""The four evaluations, each of one data set: what it is asked, and what it needs.

Fields are the options of ``tools/evaluate_clip.py``; nothing heavy is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cmid.evaluation.config import PREFIX, Fit, Identity, SlidingConfig
from cmid.options import at_least, option
from cmid.vision_language.data.problems import OnError

if TYPE_CHECKING:
    from benchmarks.vision_language.outcome import EvaluationConfig, Outcome
    from cmid.models.dual_encoder import ImageTextModel

SCENES = "scenes"
CONFIGURATION = ".py"  # how the name of a configuration of mmsegmentation ends


@dataclass(frozen=True)
class ZeroShot:
    """Zero-shot classification of labelled images.

    Attributes:
        data: a folder a class, a list with labels, or 'scenes'.
        names: class names: a set (aid, eurosat, fmow, million_aid, pattern_net, resisc45,
            rsi_cb256, skyscript, ucm) or a file; default: names of the folders.
        templates: satellite, aerial, plain, imagenet (80 of CLIP), a text with {}, or a file.
        split_file: JSON lines with image and split.
        split: split to take of --split_file.
        fit: how an image becomes a square: cropped from the centre, or squashed.
    """

    data: str
    names: str | None = None
    templates: str = "satellite"
    split_file: str | None = None
    split: str = "test"
    fit: Fit = "crop"
    task: str = field(default="zero-shot classification", init=False)

    def needs(self) -> list[str]:
        return [p for p in (self.data, self.split_file) if p is not None and p != SCENES]

    def run(self, model: ImageTextModel, name: str, options: EvaluationConfig) -> Outcome:
        from benchmarks.vision_language.classification import score_zero_shot

        return score_zero_shot(self, model, name, options)


@dataclass(frozen=True)
class Retrieval:
    """Retrieval between images and captions.

    Attributes:
        data: a file of captions (.jsonl, .csv, Karpathy .json) or 'scenes'.
        images: folder that its paths start from (default: the file's own).
        split: or 'all' (default: test where the file tells splits, else all of it).
        caption_column: column of captions (default: captions, caption, title, text or sentence;
            where there are several, one has to be named, but for SkyScript's, of which
            title_multi_objects is read).
        protocol: the column that this benchmark's protocol reads in its published tables.
        on_error: a faulty entry: stop, or count and leave out.
        prefix: before each caption.
        identity: what makes two images one.
        fit: how an image becomes a square: cropped from the centre, or squashed.
    """

    data: str
    images: str | None = None
    split: str | None = None
    caption_column: str | None = None
    protocol: Literal["skyscript", "rsicd", "rsitmd", "ucm"] | None = None
    on_error: OnError = "error"
    prefix: str = PREFIX
    identity: Identity = "name"
    fit: Fit = "crop"
    task: str = field(default="image-text retrieval", init=False)

    def needs(self) -> list[str]:
        return [p for p in (self.data, self.images) if p is not None and p != SCENES]

    def run(self, model: ImageTextModel, name: str, options: EvaluationConfig) -> Outcome:
        from benchmarks.vision_language.retrieval import score_retrieval

        return score_retrieval(self, model, name, options)


@dataclass(frozen=True)
class Segmentation:
    """Open-vocabulary segmentation.

    Attributes:
        data: folder with img_dir and ann_dir, a configuration of mmsegmentation (.py), or 'scenes'.
        vocabulary: open_earth_map, loveda, potsdam, vaihingen, isaid, udd5, vdd, uavid, roads,
            scenes, or a file: a line a class in the masks' order, synonyms with commas (default:
            the names of a configuration's dataset).
        background: class of unsure pixels (default: the list's own).
        templates: satellite, aerial, plain, imagenet (80 of CLIP), a text with {}, or a file.
        part: sub-folder of both folders, such as val; of a configuration train, val or test
            (default: test).
        zero_ignored: masks hold 1 to K, and 0 where ignored (a configuration knows it itself).
        foreground: label of the second of two classes, such as 255 of black and white masks (a
            configuration knows it itself).
        threshold: below it is background.
        long_side: pixels (default: twice the model's size).
        resize: interpolation: bicubic with antialiasing, or as published bilinear without.
        stride: pixels between windows (default: half the model's size).
        scale: factor of similarities; 0: the model's.
        cls_weight: share of the CLS feature to take off.

    Raises:
        ValueError: no vocabulary, and no configuration.
    """

    data: str
    vocabulary: str | None = None
    background: str | None = None
    templates: str = "imagenet"
    part: str | None = None
    zero_ignored: bool = False
    foreground: int | None = option(None, metavar="LABEL")
    threshold: Annotated[float, at_least(0, 1)] = 0.0
    long_side: Annotated[int, at_least(1)] | None = None
    resize: Literal["antialias", "bilinear"] = "antialias"
    stride: Annotated[int, at_least(1)] | None = None
    scale: Annotated[float, at_least(0)] = 50.0
    cls_weight: Annotated[float, at_least(0)] = 0.0
    task: str = field(default="open-vocabulary segmentation", init=False)

    def __post_init__(self) -> None:
        if self.vocabulary is None and not self.data.endswith(CONFIGURATION):
            raise ValueError(f"{self.data} needs names of its classes: give --vocabulary")

    @property
    def settings(self) -> SlidingConfig:
        """Of the sliding windows."""
        return SlidingConfig(
            self.long_side,
            self.stride,
            self.scale or None,
            cls_weight=self.cls_weight,
            antialias=self.resize == "antialias",
        )

    def needs(self) -> list[str]:
        return [] if self.data == SCENES else [self.data]

    def run(self, model: ImageTextModel, name: str, options: EvaluationConfig) -> Outcome:
        from benchmarks.vision_language.segmentation import score_segmentation

        return score_segmentation(self, model, name, options)


@dataclass(frozen=True)
class Regions:
    """Classification of boxes.

    Attributes:
        data: JSON file of COCO's form, or 'scenes'.
        images: folder of its images (default: FILE without .json).
        templates: satellite, aerial, plain, imagenet (80 of CLIP), a text with {}, or a file.
        on_error: a faulty image or box: stop, or count and leave out.
    """

    data: str
    images: str | None = None
    templates: str = "satellite"
    on_error: OnError = "error"
    task: str = field(default="region classification", init=False)

    @property
    def folder(self) -> str:
        """Where its images are."""
        return self.images or str(Path(self.data).with_suffix(""))

    def needs(self) -> list[str]:
        return [] if self.data == SCENES else [self.data, self.folder]

    def run(self, model: ImageTextModel, name: str, options: EvaluationConfig) -> Outcome:
        from benchmarks.vision_language.classification import score_regions

        return score_regions(self, model, name, options)
