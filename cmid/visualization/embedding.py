"""Whole sets of images: maps of their features, and their nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import Tensor

from cmid.visualization.reconstruction import displayable


def embed(
    features: Tensor, *, method: Literal["tsne", "umap"] = "tsne", seed: int = 0
) -> np.ndarray:
    """Lay ``(N, D)`` features out in the plane, by cosine distance: ``(N, 2)``.

    Raises:
        ImportError: the packages of the extra ``evaluation`` are missing.
        ValueError: fewer than five images.
    """
    if len(features) < 5:
        raise ValueError(f"a map needs at least 5 images, got {len(features)}")
    points = F.normalize(features.float(), dim=1).cpu().numpy()
    neighbours = min(30, len(points) - 1)
    threads = torch.get_num_threads()
    try:
        if method == "umap":
            from umap import UMAP

            mapper = UMAP(n_neighbors=min(15, neighbours), metric="cosine", random_state=seed)
            return np.asarray(mapper.fit_transform(points))
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise ImportError(f"{method} needs: pip install 'cmid[evaluation]'") from error
    finally:
        torch.set_num_threads(threads)  # umap's numba counts threads for all of OpenMP
    tsne = TSNE(perplexity=min(30, neighbours / 3), init="pca", random_state=seed)
    return tsne.fit_transform(points)


def embedding_figure(
    points: np.ndarray, labels: Tensor, classes: Sequence[str], *, title: str = ""
) -> Figure:
    """A map with a colour and a legend entry a class; grey without classes.

    Args:
        points: ``(N, 2)`` of `embed`.
        labels: ``(N,)`` int64.
        classes: names; empty for unlabelled images.
    """
    figure = Figure(figsize=(8.5, 6.5), layout="constrained")
    axis = figure.subplots()
    names = classes or ("images",)
    palette = colormaps["tab20" if len(names) > 10 else "tab10"].colors  # type: ignore[attr-defined]
    for number, name in enumerate(names):
        chosen = labels.cpu().numpy() == number if classes else np.full(len(points), True)
        marker = "os^D"[number // len(palette) % 4]
        colour = palette[number % len(palette)] if classes else "grey"
        x, y = points[chosen].T
        axis.scatter(x, y, s=14, color=colour, marker=marker, label=name, alpha=0.8, lw=0)
    if classes:
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8, frameon=False)
    axis.set(xticks=[], yticks=[], title=title)
    axis.spines[:].set_visible(False)
    return figure


def nearest_neighbours(
    features: Tensor, queries: Sequence[int], *, count: int
) -> tuple[Tensor, Tensor]:
    """Most similar other images of a set.

    Args:
        features: ``(N, D)``.
        queries: indices of ``Q`` of them.

    Returns:
        ``(Q, count)`` indices and cosine similarities, best first, never the query itself.

    Raises:
        ValueError: fewer than ``count + 1`` images.
    """
    if len(features) <= count:
        raise ValueError(f"{count} neighbours need more than {count} images, got {len(features)}")
    normalised = F.normalize(features.float(), dim=1)
    chosen = torch.as_tensor(queries, device=features.device)
    similarity = normalised[chosen] @ normalised.T
    similarity.scatter_(1, chosen[:, None], -2)
    values, index = similarity.topk(count, dim=1)
    return index, values


def neighbours_figure(
    queries: Tensor,
    neighbours: Sequence[Tensor],
    similarities: Tensor,
    *,
    query_labels: Tensor,
    labels: Tensor,
    classes: Sequence[str],
) -> Figure:
    """A row a query: the query, then its neighbours, framed green where the class is the same.

    Args:
        queries: ``(Q, C, H, W)`` in [0, 1].
        neighbours: ``Q`` times ``(K, C, H, W)`` in [0, 1].
        similarities: ``(Q, K)``.
        query_labels: ``(Q,)``; labels: ``(Q, K)``.
        classes: names; empty for unlabelled images, which get no frame.
    """
    count = similarities.shape[1]
    figure = Figure(figsize=(1.5 * (count + 1), 1.75 * len(queries)), layout="constrained")
    axes = figure.subplots(len(queries), count + 1, squeeze=False)
    for row, query in enumerate(displayable(queries)):
        axes[row, 0].imshow(query)
        own = int(query_labels[row])
        axes[row, 0].set_title(classes[own] if classes else "query", fontsize=8)
        for column, picture in enumerate(displayable(neighbours[row])):
            axis, other = axes[row, column + 1], int(labels[row, column])
            axis.imshow(picture)
            name = f"{classes[other]} " if classes and other != own else ""
            axis.set_title(f"{name}{float(similarities[row, column]):.2f}", fontsize=8)
            if classes:
                axis.spines[:].set_color("#2a9d4a" if other == own else "#d1322d")
                axis.spines[:].set_linewidth(2.5)
            else:
                axis.spines[:].set_visible(False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    for axis in axes[:, 0]:
        axis.spines[:].set_visible(False)
    return figure
