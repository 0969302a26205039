"""The four evaluations, each of one data set: what it is asked, and what it needs.

Fields are the options of ``tools/evaluate_clip.py``; nothing heavy is imported here.
"""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from cmid.evaluation.config import PREFIX, Fit, Identity, SlidingConfig
from cmid.options import at_least, option
from cmid.vision_language.data.problems import OnError

if TYPE_CHECKING:
    from benchmarks.vision_language.outcome import EvaluationConfig, Outcome
    from cmid.models.dual_encoder import ImageTextModel

SCENES = "scenes"
CONFIGURATION = ".py"  # how the name of a configuration of mmsegmentation ends


@dataclass(frozen=True)
class Evaluation:
    """A task on one data set.

    Attributes:
        task: what is measured.
        scorer: function that measures it, dotted.
        paths: fields that name files or folders.
        data: on what.
    """

    task: ClassVar[str]
    scorer: ClassVar[str]
    paths: ClassVar[tuple[str, ...]] = ("data",)
    data: str

    def needs(self) -> list[str]:
        """Files and folders that have to exist."""
        return [path for name in self.paths if (path := getattr(self, name)) not in (None, SCENES)]

    def run(self, model: ImageTextModel, name: str, options: EvaluationConfig) -> Outcome:
        """Score a model; ``name`` is for progress bars and names of pictures."""
        return pkgutil.resolve_name(self.scorer)(self, model, name, options)


@dataclass(frozen=True)
class ZeroShot(Evaluation):
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

    task: ClassVar[str] = "zero-shot classification"
    scorer: ClassVar[str] = "benchmarks.vision_language.classification.score_zero_shot"
    paths: ClassVar[tuple[str, ...]] = ("data", "split_file")
    names: str | None = None
    templates: str = "satellite"
    split_file: str | None = None
    split: str = "test"
    fit: Fit = "crop"


@dataclass(frozen=True)
class Retrieval(Evaluation):
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

    task: ClassVar[str] = "image-text retrieval"
    scorer: ClassVar[str] = "benchmarks.vision_language.retrieval.score_retrieval"
    paths: ClassVar[tuple[str, ...]] = ("data", "images")
    images: str | None = None
    split: str | None = None
    caption_column: str | None = None
    protocol: Literal["skyscript", "rsicd", "rsitmd", "ucm"] | None = None
    on_error: OnError = "error"
    prefix: str = PREFIX
    identity: Identity = "name"
    fit: Fit = "crop"


@dataclass(frozen=True)
class Segmentation(Evaluation):
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

    task: ClassVar[str] = "open-vocabulary segmentation"
    scorer: ClassVar[str] = "benchmarks.vision_language.segmentation.score_segmentation"
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


@dataclass(frozen=True)
class Regions(Evaluation):
    """Classification of boxes.

    Attributes:
        data: JSON file of COCO's form, or 'scenes'.
        images: folder of its images (default: FILE without .json).
        templates: satellite, aerial, plain, imagenet (80 of CLIP), a text with {}, or a file.
        on_error: a faulty image or box: stop, or count and leave out.
    """

    task: ClassVar[str] = "region classification"
    scorer: ClassVar[str] = "benchmarks.vision_language.classification.score_regions"
    paths: ClassVar[tuple[str, ...]] = ("data", "folder")
    images: str | None = None
    templates: str = "satellite"
    on_error: OnError = "error"

    @property
    def folder(self) -> str:
        """Where its images are."""
        return self.images or str(Path(self.data).with_suffix(""))


def suite(name: str, data_root: str = "data") -> list[Evaluation]:
    """Evaluations of a suite: ``scenes`` (generated) or ``real`` (below ``data_root``).

    Raises:
        ValueError: another name.
    """
    if name == "scenes":
        return [
            ZeroShot(SCENES, templates="aerial"),
            Retrieval(SCENES, prefix=""),
            Segmentation(SCENES, "scenes", templates="scenes"),
            Regions(SCENES),
        ]
    if name != "real":
        raise ValueError(f"no suite {name!r}: give scenes or real")
    root = Path(data_root)
    captions = str(root / "ucm/captions.jsonl")
    masks = ("potsdam", "vaihingen", "loveda", "roads")
    return [
        ZeroShot(str(root / "eurosat/val"), "eurosat"),
        ZeroShot(str(root / "ucm/images"), "ucm", split_file=captions),
        Retrieval(captions),
        *(Segmentation(str(root / "segmentation" / set_), set_) for set_ in masks),
        Regions(str(root / "nwpu_vhr10/val.json")),
    ]
