"""What a user may choose of instructions; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cmid.options import at_least, option

Kind = Literal["classification", "coco", "dota", "masks", "change", "captions", "features"]


@dataclass(frozen=True)
class LabelledConfig:
    """A labelled set.

    Attributes:
        data: a folder, or the annotation file of coco and captions.
        kind: classification: a folder a class; coco; dota: images/ and labelTxt/ (also of DIOR-R);
            masks: img_dir/ and ann_dir/; change: folders of either date and of masks; captions:
            whatever train_clip.py reads from files; features: georeferenced images.
        images: folder of the images of coco and captions (default: that of the file).
        split: part of captions, of files that tell splits (default: all of them).
        class_names: names of the classes of folders: a known set, or a file.
        names: names of the labels 0, 1, ... of masks.
        folders: of a change set.
        changed: what the masks of a change set mark, in the plural, such as buildings.
        features: GeoPackage, GeoJSON or any vector file, of kind features.
        tags: columns of features that name their class (default: OpenStreetMap's).
        on_error: a faulty entry or missing image: stop, or count and leave out.
    """

    data: Path
    kind: Kind = option()
    images: Path | None = None
    split: str | None = None
    class_names: str | None = None
    names: tuple[str, ...] = option((), metavar="NAME")
    folders: tuple[str, str, str] = ("A", "B", "label")
    changed: str = ""
    features: Path | None = None
    tags: tuple[str, ...] = option((), metavar="COLUMN")
    on_error: Literal["error", "skip"] = "error"

    def __post_init__(self) -> None:
        if self.kind == "masks" and not self.names:
            raise ValueError("--kind masks takes the names of its labels: --names NAME NAME ...")
        if (self.kind == "features") != (self.features is not None):
            raise ValueError("--kind features and --features FILE go together")
        if self.split is not None and self.kind != "captions":
            raise ValueError("--split is of --kind captions: give the part's own file or folder")


@dataclass(frozen=True)
class WritingConfig:
    """What is asked, and how it is written.

    Attributes:
        out: .json or .jsonl to write, which ConversationFile reads.
        tasks: what is asked (default: all that the set can answer).
        turns: questions of a conversation; several are of one image.
        box_cells: boxes are written in fractions (1), or whole numbers up to 99, 100 or 1000.
        box_shape: upright, oriented or polygon.
        box_tag: around a box, such as bbox.
        task_tags: begin questions with the published tags ([CLS], [VQA], [VG], [Identify]).
        seed: of wording and choice.
        report: folder of the report on the balance (default: beside --out).
    """

    out: Path = option()
    tasks: tuple[str, ...] = option((), metavar="TASK")
    turns: Annotated[int, at_least(1)] = 1
    box_cells: Annotated[int, at_least(1)] = 1
    box_shape: Literal["upright", "oriented", "polygon"] = "upright"
    box_tag: str = ""
    task_tags: bool = False
    seed: int = 0
    report: Path | None = None

    def __post_init__(self) -> None:
        if self.out.suffix not in (".json", ".jsonl"):
            raise ValueError(f"--out {self.out} is to end in .json or .jsonl")
