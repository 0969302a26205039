"""What is evaluated; imports nothing heavy, so that the command can tell it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from cmid.options import at_least, option

SuiteName = Literal[
    "scenes", "classification", "vqa", "grounding", "choice", "captions", "instructions"
]


_READ: tuple[SuiteName, ...] = ("vqa", "grounding", "choice", "captions", "instructions")
# Options that some suites alone know.
_SUITES_OF: dict[str, tuple[SuiteName, ...]] = {
    "images": _READ,
    "class_names": ("classification",),
    "split": ("vqa", "grounding", "captions"),
    "train": ("classification", *_READ),
    "train_split": ("vqa", "grounding", "captions"),
    "tasks": ("scenes",),
    "scene_size": ("scenes",),
    "prompts": ("classification", "vqa", "grounding"),
    "cells": ("grounding", "instructions"),
    "data_cells": ("grounding",),
    "on_error": _READ,
}


@dataclass(frozen=True)
class ModelConfig:
    """The model under test.

    Attributes:
        model: folder of a model of this project, folder or name of an image-text-to-text model of
            Hugging Face, or with --endpoint the model's name there.
        endpoint: address of an endpoint that speaks as OpenAI's chat completions do.
        api_key_variable: environment variable that holds the endpoint's key.
        concurrency: requests that the endpoint works on at a time.
        image_side: pixels of the longer side that images are shrunk to for the endpoint.
        batch_size: questions at a time of a local model.
        beams: answers of a model of this project that are followed at a time, for the one that is
            likeliest as a whole.
        device: where a local model works (default: a GPU where there is one, for models of this
            project the CPU).
    """

    model: str
    endpoint: str | None = option(None, metavar="URL")
    api_key_variable: str = "OPENAI_API_KEY"
    concurrency: Annotated[int, at_least(1)] = 8
    image_side: Annotated[int, at_least(28)] = 1024
    batch_size: Annotated[int, at_least(1)] = 64
    beams: Annotated[int, at_least(1)] = 1
    device: str | None = None


@dataclass(frozen=True)
class SuiteConfig:
    """What it is asked.

    Attributes:
        suite: scenes are generated, all others read --data.
        data: classification: a folder with a sub-folder a class; vqa: the folder of RSVQA's JSON;
            grounding: JSON of LHRS's form, or a folder of XML as DIOR-RSVG's; choice: qa.json of
            LHRS-Bench; captions: whatever tools/train_clip.py reads; instructions: what
            tools/make_instructions.py wrote about images that were not trained on.
        images: folder of the images (default: that of --data, and its images, Images_LR, Data and
            JPEGImages).
        class_names: names of the classes of folders: a known set, or a file (default: the folders'
            own, as words).
        split: part of the data (vqa and XML of grounding: test, unless told; the latter's all
            takes every part).
        train: data of the same form whose answers a blind guesser knows; by default it knows those
            of the test, which flatters it.
        train_split: part of --train (vqa and XML of grounding: train, unless told), or of --data.
        tasks: kinds of questions about scenes (default: all).
        count: questions of each kind about scenes; of other suites, so many of all, drawn at
            random (default: all of them).
        scene_size: pixels of scenes; those that the model was trained on.
        seed: of scenes, and of what is drawn.
        prompts: words around questions.
        cells: numbers of boxes in answers are fractions (1) or from 0 to so many; also those of the
            file of instructions.
        data_cells: the same of the true boxes in JSON of grounding.
        grey_image: ask once more about a grey image.
        on_error: faulty entries and missing images: stop, or count and leave out.
        out: folder of predictions, scores and report.
    """

    suite: SuiteName = "scenes"
    data: Path | None = None
    images: Path | None = None
    class_names: str | None = None
    split: str | None = None
    train: Path | None = None
    train_split: str | None = None
    tasks: tuple[str, ...] = option((), metavar="KIND")
    count: Annotated[int, at_least(1)] | None = None
    scene_size: Annotated[int, at_least(16)] = 64
    seed: int = 1001
    prompts: Literal["plain", "lhrs_bot", "nova"] = "plain"
    cells: Annotated[int, at_least(1)] = 1
    data_cells: Annotated[int, at_least(1)] = 1
    grey_image: bool = False
    on_error: Literal["error", "skip"] = "error"
    out: Path = option(metavar="DIR")

    def __post_init__(self) -> None:
        if (self.suite == "scenes") != (self.data is None):
            raise ValueError("--data is needed for all suites but scenes, and unknown to that one")
        for each in fields(self):
            suites = _SUITES_OF.get(each.name)
            if suites and self.suite not in suites and getattr(self, each.name) != each.default:
                raise ValueError(
                    f"--{each.name} has no meaning for --suite {self.suite}: leave it out, it is of"
                    f" {', '.join(suites)}"
                )
