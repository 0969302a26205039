"""The data of the four evaluations: folders, captions, masks, boxes, and generated scenes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.vision_language.outcome import EvaluationConfig
from cmid.data.folder import ImageFolder
from cmid.data.opening import open_source
from cmid.data.scenes import generate_scene
from cmid.data.source import ImageSource
from cmid.data.splits import SubsetSource
from cmid.data.text_files import json_lines, parse_json
from cmid.evaluation.region_classification import ImageRegions
from cmid.vision_language.data import CocoRegions, ImageTextSource, SceneTexts
from cmid.vision_language.data.problems import OnError, load_json
from cmid.vision_language.prompts.class_names import category_text

SCENE_SEED = 1000  # far from those that training and its validation draw from


def open_labelled(path: str, *, split_file: str | None = None, split: str = "test") -> ImageSource:
    """Labelled images for zero-shot classification.

    Args:
        path: what `cmid.data.open_source` opens with labels.
        split_file: JSON lines with ``image`` (a path relative to the file) and ``split``; only the
            images of ``split`` are used.

    Raises:
        ValueError: images without labels, or none of the split.
    """
    source = open_source(path)
    if len(source.classes) < 2:
        found = f"the class {source.classes[0]} only" if source.classes else "no labels"
        raise ValueError(f"{path} has {found}: put the images of each class in a folder of its own")
    if split_file is None:
        return source
    if not isinstance(source, ImageFolder):
        raise ValueError(f"{path}: a split file needs a folder of images")
    folder = Path(split_file).resolve().parent
    entries = [
        (number, parse_json(line, name=f"{split_file}, line {number}"))
        for number, line in json_lines(split_file)
    ]
    for number, entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
            raise ValueError(
                f"{split_file}, line {number} has no image: each names image and split"
            )
    chosen = {folder / entry["image"] for _, entry in entries if entry.get("split") == split}
    root = Path(path).resolve()
    paths = [root / os.fsdecode(bytes(name)) for name in source.paths]
    indices = [index for index, name in enumerate(paths) if name in chosen]
    if not indices:
        raise ValueError(f"{split_file} names no image of {path} in the split {split}")
    return SubsetSource(source, indices)


def scene_texts(options: EvaluationConfig, size: int) -> SceneTexts:
    """Generated scenes with captions and regions, as many and as large as the options say.

    Args:
        size: side of the model's input, unless the options have one.
    """
    return SceneTexts(options.scenes, size=options.scene_size or size, seed=SCENE_SEED)


class SceneMasks:
    """Generated scenes with their semantic masks."""

    def __init__(self, count: int, *, size: int, seed: int = SCENE_SEED) -> None:
        self.count, self.size, self.seed = count, size, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        scene = generate_scene(index, seed=self.seed, size=self.size)
        return scene.image, torch.from_numpy(scene.semantic_mask)


class SourceRegions:
    """The regions of an image-text source whose category is one of ``categories``."""

    def __init__(self, source: ImageTextSource, categories: Sequence[str]) -> None:
        self.source = source
        self.number = {name: k for k, name in enumerate(categories)}

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> ImageRegions:
        entry = self.source.read(index)
        regions = [r for r in entry.regions if r.category in self.number]
        boxes = torch.tensor(np.array([r.box for r in regions], dtype=np.float32)).reshape(-1, 4)
        labels = [self.number[str(r.category)] for r in regions]
        return ImageRegions(entry.image.pixels, boxes, torch.tensor(labels, dtype=torch.int64))


def open_coco(
    path: str, images: str, *, on_error: OnError = "error"
) -> tuple[CocoRegions, list[str]]:
    """Boxes of a file of COCO's form, and its categories in its order, as words."""
    source = CocoRegions(path, root=images, on_error=on_error)
    content = load_json(Path(path))
    return source, [category_text(entry["name"]) for entry in content["categories"]]
