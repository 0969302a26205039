"""Image retrieval by cosine similarity, and clustering."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.no_grad()
def retrieval_scores(
    gallery: tuple[Tensor, Tensor],
    queries: tuple[Tensor, Tensor],
    *,
    ks: Sequence[int] = (1, 5, 10),
    chunk: int = 256,
) -> dict[str, float]:
    """Recall@k and mean average precision of whole rankings.

    An image of the gallery is relevant when it has the query's class (one label each) or shares a
    label with it. Queries without any relevant image are left out and counted.

    Args:
        gallery: ``(N, D)`` features; ``(N,)`` int64 classes or ``(N, L)`` 0/1 labels.
        queries: ``(M, D)`` and ``(M,)`` or ``(M, L)``; not part of the gallery.
        chunk: queries ranked at a time.

    Returns:
        ``recall@k`` (share of queries with a relevant image among the first k), ``mAP``, both in
        [0, 1], and ``queries_without_match``.

    Raises:
        ValueError: no query has a relevant image.
    """
    bank = F.normalize(gallery[0].float(), dim=1)
    hits: dict[int, list[Tensor]] = {k: [] for k in ks}
    precisions, left_out = [], 0
    for features, labels in zip(queries[0].split(chunk), queries[1].split(chunk), strict=True):
        similarity = F.normalize(features.float(), dim=1) @ bank.T  # (chunk, N)
        order = similarity.argsort(dim=1, descending=True, stable=True)
        relevant = _relevant(labels, gallery[1]).gather(1, order)
        matched = relevant.any(dim=1)
        left_out += int((~matched).sum())
        relevant = relevant[matched]
        for k in ks:
            hits[k].append(relevant[:, :k].any(dim=1))
        found = relevant.cumsum(dim=1)
        rank = torch.arange(1, relevant.shape[1] + 1, device=relevant.device)
        precisions.append((found / rank * relevant).sum(dim=1) / found[:, -1])
    average = torch.cat(precisions)
    if len(average) == 0:
        raise ValueError("no query has an image of its class in the gallery")
    recalls = {f"recall@{k}": float(torch.cat(hits[k]).float().mean()) for k in ks}
    return {**recalls, "mAP": float(average.mean()), "queries_without_match": float(left_out)}


def _relevant(labels: Tensor, gallery: Tensor) -> Tensor:
    if labels.ndim == 1:
        return labels[:, None] == gallery[None]
    return labels.float() @ gallery.float().T > 0


def clustering_nmi(features: Tensor, labels: Tensor, *, seed: int = 0) -> float:
    """Normalised mutual information of k-means clusters and classes, in [0, 1].

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
        from sklearn.metrics import normalized_mutual_info_score
    except ImportError as error:
        raise ImportError(
            "clustering needs scikit-learn: pip install 'cmid[evaluation]'"
        ) from error
    points = F.normalize(features.float(), dim=1).cpu().numpy()
    clusters = KMeans(len(labels.unique()), n_init=10, random_state=seed).fit_predict(points)
    return float(normalized_mutual_info_score(labels.cpu().numpy(), clusters))
