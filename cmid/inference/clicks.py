"""A classifier by a few clicks: logistic regression on embeddings, applied to every cell."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmid.inference.embedding_maps import Cells, EmbeddingMap
from cmid.inference.streaming import Piece
from cmid.inference.vectors import read_geometries

_TRUST = 10.0  # in the points, against the wish for small weights


@dataclass(frozen=True)
class CellClassifier:
    """Two classes of cells, told apart by the directions of their embeddings.

    Attributes:
        weights: ``(channels)``. bias: of the score, whose sigmoid is the probability.
    """

    weights: Cells
    bias: float

    def pieces(self, each: EmbeddingMap, first: int = 0) -> Iterator[Piece]:
        """Scores of both classes, 0 and that of the second, from a part of the rows on."""
        for number, (top, values, missing) in enumerate(each.rows(first), start=first):
            score = (_unit(values) @ self.weights + self.bias).astype(np.float32)
            scores = np.where(missing, 0, np.stack([np.zeros_like(score), score]))
            yield Piece(number, top, 0, scores, missing)


def fit_clicks(
    maps: Sequence[EmbeddingMap], clicks: Mapping[str, str | os.PathLike[str]]
) -> tuple[CellClassifier, dict[str, tuple[int, int]]]:
    """Learn from points.

    Args:
        clicks: files of points by the name of their class, the second one is what is looked for.

    Returns:
        The classifier; how many points of each class were used, and how many lie on no embedding.

    Raises:
        FileNotFoundError, ValueError: no such file, or no file of points; no point of a class lies
            on an embedding.
        ModuleNotFoundError: scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "classifying needs scikit-learn: pip install 'cmid[search]'"
        ) from error
    cells, counts = {}, {}
    for name, path in clicks.items():
        cells[name], lost = _cells_at(maps, path)
        counts[name] = len(cells[name]), lost
        if not len(cells[name]):
            raise ValueError(f"none of the {lost} points of {path} lies on an embedding")
    labels = np.repeat([0, 1], [used for used, _ in counts.values()])
    # Dimensions are not scaled: a few points do not tell how much each of them varies.
    model = LogisticRegression(C=_TRUST, class_weight="balanced", max_iter=1000)
    model.fit(_unit(np.concatenate([*cells.values()])), labels)
    return CellClassifier(model.coef_[0].astype(np.float32), float(model.intercept_[0])), counts


def _cells_at(maps: Sequence[EmbeddingMap], path: str | os.PathLike[str]) -> tuple[Cells, int]:
    """Embeddings at the points of a file, and how many points have none."""
    shapes, crs = read_geometries(path)
    places: NDArray[np.float64] = np.array(
        [point.coords[0][:2] for shape in shapes for point in getattr(shape, "geoms", [shape])
         if point.geom_type == "Point"]
    ).reshape(-1, 2)  # fmt: skip
    if not len(places):
        raise ValueError(f"{path} holds {shapes[0].geom_type}s: give points")
    found = np.zeros((len(places), maps[0].channels), dtype=np.float32)
    left = np.ones(len(places), dtype=bool)
    for each in maps:
        if not left.any():
            break
        x, y = places[left].T.tolist()
        values, known = each.at(x, y, crs=crs)
        where = np.flatnonzero(left)[known]
        found[where], left[where] = values[known], False
    return found[~left], int(left.sum())


def _unit(values: Cells) -> Cells:
    lengths = np.linalg.norm(values, axis=-1, keepdims=True)
    return values / np.maximum(lengths, 1e-12)
