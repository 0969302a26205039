"""A labelled training and a test part, from one folder or two."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cmid.data.folder import ImageList, number_labels
from cmid.data.opening import open_source
from cmid.data.source import Image, ImageSource

TEST_FOLDERS = ("test", "val", "validation")


class SubsetSource(ImageSource):
    """Some images of another source, by index."""

    def __init__(self, source: ImageSource, indices: Sequence[int]) -> None:
        self.source = source
        self.indices = np.asarray(indices, dtype=np.int64)
        self.num_bands = source.num_bands
        self.classes = source.classes

    def __len__(self) -> int:
        return len(self.indices)

    def read(
        self,
        index: int,
        *,
        min_size: tuple[float, float] | None = None,
        generator: np.random.Generator | None = None,
    ) -> Image:
        return self.source.read(int(self.indices[index]), min_size=min_size, generator=generator)


def open_split(
    path: str | os.PathLike[str],
    test: str | os.PathLike[str] | None = None,
    *,
    train_share: float = 0.8,
    seed: int = 0,
    num_scenes: int = 2000,
    scene_size: int = 64,
) -> tuple[ImageSource, ImageSource]:
    """Open a training and a test part with the same classes.

    Args:
        path: anything `open_source` opens: with ``test``, the training part (a list without labels
            takes them from the folders of its paths, or from the letters that file names begin
            with, as in UC Merced's ``agricultural00.tif``); a folder with
            ``train`` and ``test`` (or ``val``) sub-folders, both; ``scenes``, generated ones; any
            other labelled source is divided, ``train_share`` of each class for training.
        test: the test part.
        seed: of the division.
        num_scenes, scene_size: of generated scenes, divided likewise.

    Raises:
        FileNotFoundError: a part is missing.
        ValueError: no labels, or other classes in the two parts.
    """
    if test is not None:
        parts = _named(open_source(path)), _named(open_source(test))
    elif os.fspath(path) == "scenes":
        scenes = open_source("scenes", num_images=num_scenes, size=scene_size)
        cut = round(train_share * num_scenes)
        # Classes of scenes alternate, so that any run of them is balanced.
        return SubsetSource(scenes, range(cut)), SubsetSource(scenes, range(cut, num_scenes))
    elif (Path(path) / "train").is_dir():
        found = [name for name in TEST_FOLDERS if (Path(path) / name).is_dir()]
        if not found:
            raise FileNotFoundError(
                f"{path} has a folder train, but none of {', '.join(TEST_FOLDERS)} beside it"
            )
        parts = open_source(Path(path) / "train"), open_source(Path(path) / found[0])
    else:
        return _divide(open_source(path), train_share, seed=seed, name=os.fspath(path))
    if tuple(parts[0].classes) != tuple(parts[1].classes):
        odd = sorted(set(parts[0].classes) ^ set(parts[1].classes))
        raise ValueError(f"{path}: the two parts differ in their classes: {', '.join(odd[:5])}")
    _check_labels(parts[0], os.fspath(path))
    return parts


def _divide(
    source: ImageSource, train_share: float, *, seed: int, name: str
) -> tuple[SubsetSource, SubsetSource]:
    _check_labels(source, name)
    labels = getattr(source, "labels", None)
    if labels is None:
        labels = np.array([source[index].label for index in range(len(source))])
    generator = np.random.default_rng(seed)
    train: list[int] = []
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        if len(members) < 2:
            raise ValueError(f"{name}: class {source.classes[label]} has one image, needs two")
        count = min(max(1, round(train_share * len(members))), len(members) - 1)
        train += members[:count].tolist()
    rest = np.setdiff1d(np.arange(len(source)), train)
    return SubsetSource(source, sorted(train)), SubsetSource(source, rest.tolist())


def _named(source: ImageSource) -> ImageSource:
    """Give the images of an unlabelled list the classes that their names tell."""
    if not isinstance(source, ImageList) or source.classes:
        return source
    paths = [Path(os.fsdecode(bytes(path))) for path in source.paths]
    names = [p.parent.name or re.split(r"[^A-Za-z]", p.stem, maxsplit=1)[0] for p in paths]
    labels, classes = number_labels(names)
    source.labels, source.classes = np.array(labels, dtype=np.int64), tuple(classes)
    return source


def _check_labels(source: ImageSource, name: str) -> None:
    if len(source.classes) < 2:
        raise ValueError(
            f"{name} has {len(source.classes)} classes: put the images of each class in a folder"
            " of its own"
        )
