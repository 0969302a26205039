"""Images with several labels: their files, and their measures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from cmid.data.tables import Table
from cmid.evaluation.score import Score

_NAME_COLUMNS = ("name", "image", "filename", "file", "path")


def mean_average_precision(scores: Tensor, labels: Tensor) -> float:
    """Mean over labels of the average precision, in [0, 1]; labels that never occur are left out.

    Args:
        scores: ``(N, L)``, higher is surer.
        labels: ``(N, L)`` 0/1.

    Raises:
        ValueError: no image has a label.
    """
    if not labels.any():
        raise ValueError("no image has any label: there is nothing to rank")
    return Score("AP", torch.stack([scores.float(), labels.float()], dim=1).cpu().numpy()).value


def multilabel_scores(probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """The values of `multilabel_results`."""
    return {name: own.value for name, own in multilabel_results(probabilities, labels).items()}


def multilabel_results(probabilities: Tensor, labels: Tensor) -> dict[str, Score]:
    """Measures of multi-label classification, each in [0, 1].

    Args:
        probabilities: ``(N, L)`` in [0, 1]; a label counts as predicted beyond 0.5.
        labels: ``(N, L)`` 0/1.

    Returns:
        ``mAP`` (macro), ``micro_f1``, ``macro_f1``.

    Raises:
        ValueError: no image has a label.
    """
    if not labels.any():
        raise ValueError("no image has any label: there is nothing to rank")
    probabilities, labels = probabilities.float().cpu(), labels.float().cpu()
    predicted = (probabilities > 0.5).float()
    parts = torch.stack([2 * predicted * labels, predicted + labels], dim=1)  # (N, 2, L)
    return {
        "mAP": Score("AP", torch.stack([probabilities, labels], dim=1).numpy()),
        "micro_f1": Score("ratio", parts.sum(dim=2).numpy()),
        "macro_f1": Score("ratio", parts.numpy()),
    }


def read_multilabels(
    path: str | os.PathLike[str], names: Sequence[str]
) -> tuple[Tensor, tuple[str, ...]]:
    """Labels of images from a CSV file with a header.

    The first column (or one called name, image, file, filename or path) names the image, with or
    without folder and ending. The others are either one column per label holding 0 or 1 (UC
    Merced's 17 labels), or a single column that lists labels separated by ``;`` or ``|``
    (BigEarthNet style).

    Args:
        path: the CSV file.
        names: paths or names of images; labels come in their order.

    Returns:
        ``(N, L)`` uint8 0/1 and the label names.

    Raises:
        FileNotFoundError: no such file.
        ValueError: images without labels (counted, the first named), values other than 0 and 1,
            two rows for one image.
    """
    columns, chosen = rows_of_images(path, names)
    if len(columns) == 1:
        return _from_lists([values[0] for values in chosen])
    return _from_columns(chosen, columns, where=Path(path))


def rows_of_images(
    path: str | os.PathLike[str], names: Sequence[str]
) -> tuple[tuple[str, ...], list[list[str]]]:
    """Columns of a CSV file, but for the one that names images, and their values of each image.

    Raises:
        FileNotFoundError, ValueError: as `read_multilabels`.
    """
    path = Path(path)
    table = Table(path)
    header, rows = table.header, list(table.rows())
    if not rows or len(header) < 2:
        raise ValueError(f"{path} needs a header, a column of image names and labels beside it")
    table.check_unique(name for name in header if name)
    place = next((i for i, c in enumerate(header) if c.strip().lower() in _NAME_COLUMNS), 0)
    columns = [i for i in range(len(header)) if i != place]
    entries = {}
    for row in rows:
        if row.fault:
            raise ValueError(f"{path}, line {row.line}: {row.fault}")
        key = Path(row.fields[place].strip()).stem
        if key in entries:
            raise ValueError(f"{path}, line {row.line} labels {key} a second time")
        entries[key] = [row.fields[i].strip() for i in columns]
    missing = [name for name in names if Path(name).stem not in entries]
    if missing:
        raise ValueError(f"{path} has no labels for {len(missing)} images, first {missing[0]}")
    chosen = [entries[Path(name).stem] for name in names]
    return tuple(header[i].strip() for i in columns), chosen


def _from_lists(lists: list[str]) -> tuple[Tensor, tuple[str, ...]]:
    sets = [{s.strip() for s in text.replace("|", ";").split(";")} - {""} for text in lists]
    classes = tuple(sorted(set().union(*sets)))
    return torch.tensor([[c in s for c in classes] for s in sets], dtype=torch.uint8), classes


def _from_columns(
    rows: list[list[str]], classes: tuple[str, ...], *, where: Path
) -> tuple[Tensor, tuple[str, ...]]:
    wrong = next((value for row in rows for value in row if value not in ("0", "1")), None)
    if wrong is not None:
        raise ValueError(f"{where} holds {wrong!r} where 0 or 1 is expected")
    return torch.tensor([[int(value) for value in row] for row in rows], dtype=torch.uint8), classes
