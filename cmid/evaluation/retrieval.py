"""Image retrieval by cosine similarity, and clustering."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cmid.evaluation.score import Score


def retrieval_scores(
    gallery: tuple[Tensor, Tensor],
    queries: tuple[Tensor, Tensor],
    *,
    ks: Sequence[int] = (1, 5, 10),
    chunk: int = 256,
) -> dict[str, float]:
    """Recall@k and mean average precision of whole rankings, see `retrieval_results`.

    Returns:
        ``recall@k`` (share of queries with a relevant image among the first k), ``mAP``, both in
        [0, 1], and ``queries_without_match``.
    """
    hits, precisions = retrieval_results(gallery, queries, ks=ks, chunk=chunk)
    recalls = {f"recall@{k}": float(hit.float().mean()) for k, hit in hits.items()}
    left_out = float(len(queries[0]) - len(precisions))
    return {**recalls, "mAP": float(precisions.mean()), "queries_without_match": left_out}


@torch.no_grad()
def retrieval_results(
    gallery: tuple[Tensor, Tensor],
    queries: tuple[Tensor, Tensor],
    *,
    ks: Sequence[int] = (1, 5, 10),
    chunk: int = 256,
) -> tuple[dict[int, Tensor], Tensor]:
    """What each query finds.

    An image of the gallery is relevant when it has the query's class (one label each) or shares a
    label with it. Queries without any relevant image are left out.

    Args:
        gallery: ``(N, D)`` features; ``(N,)`` int64 classes or ``(N, L)`` 0/1 labels.
        queries: ``(M, D)`` and ``(M,)`` or ``(M, L)``; not part of the gallery.
        chunk: queries ranked at a time.

    Returns:
        By k, ``(Q,)`` bool: whether a relevant image is among the first k. ``(Q,)`` average
        precisions in [0, 1].

    Raises:
        ValueError: no query has a relevant image.
    """
    bank = F.normalize(gallery[0].float(), dim=1)
    hits: dict[int, list[Tensor]] = {k: [] for k in ks}
    precisions = []
    for features, labels in zip(queries[0].split(chunk), queries[1].split(chunk), strict=True):
        similarity = F.normalize(features.float(), dim=1) @ bank.T  # (chunk, N)
        order = similarity.argsort(dim=1, descending=True, stable=True)
        relevant = _relevant(labels, gallery[1]).gather(1, order)
        matched = relevant.any(dim=1)
        relevant = relevant[matched]
        for k in ks:
            hits[k].append(relevant[:, :k].any(dim=1))
        found = relevant.cumsum(dim=1)
        rank = torch.arange(1, relevant.shape[1] + 1, device=relevant.device)
        precisions.append((found / rank * relevant).sum(dim=1) / found[:, -1])
    average = torch.cat(precisions)
    if len(average) == 0:
        raise ValueError("no query has an image of its class in the gallery")
    return {k: torch.cat(hits[k]) for k in ks}, average


def _relevant(labels: Tensor, gallery: Tensor) -> Tensor:
    if labels.ndim == 1:
        return labels[:, None] == gallery[None]
    return labels.float() @ gallery.float().T > 0


def clustering_nmi(features: Tensor, labels: Tensor, *, seed: int = 0) -> float:
    """Normalised mutual information of `clusters_of` images and their classes, in [0, 1]."""
    clusters = clusters_of(features, labels, seed=seed)
    return Score("NMI", torch.stack([labels.cpu(), clusters], dim=1).numpy()).value


def clusters_of(features: Tensor, labels: Tensor, *, seed: int = 0) -> Tensor:
    """``(N,)`` clusters of k-means.

    As many clusters as classes, L2-normalised features, the best of ten starts.

    Args:
        features: ``(N, D)``.
        labels: ``(N,)`` int64.

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: all images are of one class.
    """
    if len(labels.unique()) < 2:
        raise ValueError("all images are of one class: there are no clusters to compare")
    try:
        from sklearn.cluster import KMeans
    except ImportError as error:
        raise ImportError(
            "clustering needs scikit-learn: pip install 'cmid[evaluation]'"
        ) from error
    points = F.normalize(features.float(), dim=1).cpu().numpy()
    found = KMeans(len(labels.unique()), n_init=10, random_state=seed).fit_predict(points)
    return torch.from_numpy(found).long()
