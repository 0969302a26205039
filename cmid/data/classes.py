"""Classes of two labelled sources, matched by their names."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cmid.data.source import ImageSource

_SHOWN = 5


def known_labels(source: ImageSource) -> NDArray[np.int64] | None:
    """Label of every image where the source holds them in memory, else None."""
    labels = getattr(source, "labels", None)
    if labels is not None:
        return np.asarray(labels)
    inner, indices = getattr(source, "source", None), getattr(source, "indices", None)
    if inner is None or indices is None:
        return None
    labels = known_labels(inner)
    return None if labels is None else labels[indices]


def require_labels(source: ImageSource, name: str) -> None:
    """Refuse a source whose images, or some of them, have no class.

    Args:
        name: name of the option, for messages.

    Raises:
        ValueError: with the number of images without one.
    """
    labels = known_labels(source)
    count = len(source) if not source.classes else 0
    if labels is not None:
        count = max(count, int((labels < 0).sum()))
    if count:
        raise ValueError(
            f"{name}: {count} of {len(source)} images have no class: give labelled images (a folder"
            " a class, a list or file with labels), or leave the unlabelled ones out"
        )


def match_classes(
    train: ImageSource, test: ImageSource, *, names: tuple[str, str] = ("train", "test")
) -> NDArray[np.int64]:
    """For each class of ``test`` its index in ``train``, by name.

    Args:
        names: names of the two options, for messages.

    Returns:
        ``(K,)`` int64; -1 for a class that neither ``train`` nor any image of ``test`` has.

    Raises:
        ValueError: images of ``test`` have a class that ``train`` has not; names them.
    """
    index = {name: number for number, name in enumerate(train.classes)}
    mapping = np.array([index.get(name, -1) for name in test.classes], dtype=np.int64)
    labels = known_labels(test)
    present = range(len(mapping)) if labels is None else np.unique(labels[labels >= 0]).tolist()
    unknown = [str(test.classes[i]) for i in present if mapping[i] < 0]
    if unknown:
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        known = ", ".join(map(str, tuple(train.classes)[:_SHOWN]))
        raise ValueError(
            f"{names[1]} has classes that {names[0]} lacks: {', '.join(unknown[:_SHOWN])}{more};"
            f" {names[0]} has {known}{' ...' if len(train.classes) > _SHOWN else ''}: give both the"
            " same classes"
        )
    return mapping
