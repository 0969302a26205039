"""A labelled training and a test part, from one folder or two."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cmid.data.classes import known_labels, match_classes
from cmid.data.folder import ImageFolder, ImageList, number_labels
from cmid.data.opening import open_source
from cmid.data.source import Draws, Image, ImageSource, MinSize, WrappedSource

logger = logging.getLogger(__name__)

TEST_FOLDERS = ("test", "val", "validation")


class SubsetSource(WrappedSource):
    """Some images of another source, by index."""

    def __init__(self, source: ImageSource, indices: Sequence[int] | NDArray[np.int64]) -> None:
        super().__init__(source)
        self.indices = np.asarray(indices, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    def decode(self, index: int, min_size: MinSize, generator: Draws) -> Image:
        return super().decode(int(self.indices[index]), min_size, generator)


def open_split(
    path: str | os.PathLike[str],
    test: str | os.PathLike[str] | None = None,
    *,
    train_share: float = 0.8,
    seed: int = 0,
    num_scenes: int = 2000,
    scene_size: int = 64,
    labelled: bool = True,
    bands: Sequence[int | str] | None = None,
    sensor: str | None = None,
) -> tuple[ImageSource, ImageSource]:
    """Open a training and a test part with the same classes, those of the training part.

    Labels of the test part are matched by their names, or by their values where they are numbers;
    training classes that it lacks are counted and reported.

    Args:
        path: anything `open_source` opens: with ``test``, the training part (a list without labels
            takes them from the folders of its paths, or from the letters that file names begin
            with, as in UC Merced's ``agricultural00.tif``); a folder with
            ``train`` and ``test`` (or ``val``) sub-folders, both; ``scenes``, generated ones; any
            other labelled source is divided, ``train_share`` of each class for training. An HDF5
            file has datasets ``images`` and ``labels``.
        test: the test part.
        seed: random seed of the division.
        num_scenes, scene_size: number and side in pixels of generated scenes, divided likewise.
        labelled: False asks for no class; other data are divided at random.
        bands, sensor: read folders and lists of rasters of any bands, see `ImageFolder`.

    Raises:
        FileNotFoundError: a part is missing.
        ValueError: no labels, or classes of the test part that the training part lacks; or bands
            of what is neither a folder nor a list.
    """
    opened = partial(_opened, labelled=labelled, bands=bands, sensor=sensor)
    if test is not None:
        parts = opened(path), opened(test)
        if labelled:
            parts = _named(parts[0]), _named(parts[1])
    elif os.fspath(path) == "scenes":
        # Kept: training reads them in every epoch.
        scenes = open_source("scenes", num_images=num_scenes, size=scene_size, keep=True)
        cut = round(train_share * num_scenes)
        # Classes of scenes alternate, so that any run of them is balanced.
        return SubsetSource(scenes, range(cut)), SubsetSource(scenes, range(cut, num_scenes))
    elif (Path(path) / "train").is_dir():
        found = [name for name in TEST_FOLDERS if (Path(path) / name).is_dir()]
        if not found:
            raise FileNotFoundError(
                f"{path} has a folder train, but none of {', '.join(TEST_FOLDERS)} beside it"
            )
        parts = opened(Path(path) / "train"), opened(Path(path) / found[0])
    else:
        source = opened(path)
        if not labelled:
            order = np.random.default_rng(seed).permutation(len(source))
            train, rest = np.split(order, [round(train_share * len(source))])
            return SubsetSource(source, np.sort(train)), SubsetSource(source, np.sort(rest))
        return _divide(source, train_share, seed=seed, name=os.fspath(path))
    if not labelled:
        return parts
    _check_labels(parts[0], os.fspath(path))
    align_classes(*parts, name=os.fspath(path))
    return parts


def align_classes(train: ImageSource, test: ImageSource, *, name: str) -> None:
    """Give the test part the classes of the training part, and its labels their numbers.

    Args:
        name: name of the data, for messages.

    Raises:
        ValueError: images of classes that the training part lacks, or images without a label.
    """
    known, found = _occurring(train), _occurring(test)
    unseen = [label for label in found if label not in known]
    if unseen:
        raise ValueError(
            f"{name}: the two parts differ in their classes: {_some(unseen)} of the test part"
            f" {'occurs' if len(unseen) == 1 else 'occur'} in no training image; training has"
            f" {_some(known)}"
        )
    lacking = [label for label in known if label not in found]
    if lacking:
        logger.warning(
            "%s: %d of %d classes occur in no test image: %s",
            name,
            len(lacking),
            len(known),
            _some(lacking),
        )
    if tuple(train.classes) != tuple(test.classes):
        table = match_classes(train, test, names=("the training part", "the test part"))
        labels = np.asarray(test.labels)  # type: ignore[attr-defined]
        test.labels = np.where(labels < 0, -1, table[labels])  # type: ignore[attr-defined]
        test.classes = tuple(train.classes)


def _occurring(source: ImageSource) -> list[str]:
    """Names of the classes that images have; all, where that would take reading them."""
    labels = known_labels(source)
    if labels is None:
        return list(source.classes)
    return [source.classes[label] for label in np.unique(labels) if label >= 0]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


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


def _opened(
    path: str | os.PathLike[str],
    *,
    labelled: bool,
    bands: Sequence[int | str] | None,
    sensor: str | None,
) -> ImageSource:
    """Any source, of an HDF5 file with the labels that it holds beside its images."""
    if bands is not None or sensor is not None:
        if Path(path).is_dir():
            return ImageFolder(path, bands=bands, sensor=sensor)
        if Path(path).suffix.lower() in (".txt", ".csv"):
            return ImageList(path, bands=bands, sensor=sensor)
        raise ValueError(f"{path}: bands and sensor are of folders and lists of rasters")
    if labelled and Path(path).suffix.lower() in (".h5", ".hdf5"):
        return open_source(path, labels="labels")
    return open_source(path)


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
    count = len(_occurring(source))
    if count < 2:
        raise ValueError(
            f"{name} has {count} classes: put the images of each class in a folder of its own"
        )
