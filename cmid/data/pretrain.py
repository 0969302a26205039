"""Batches for pretraining, and labelled images to watch it with."""

from __future__ import annotations

import os
from typing import Literal

from cmid.data.resumable import ResumableData
from cmid.data.source import ImageSource
from cmid.data.statistics import MILLION_AID, ChannelStatistics
from cmid.data.transform import SampleTransform


class PretrainData(ResumableData):
    """Images for pretraining, and optionally labelled ones to watch features on.

    Args:
        source: unlabelled images (labels are ignored).
        views: what a worker makes of an image.
        batch_size: images per process and step.
        num_workers: processes that read images; -1 takes one per core, shared between the
            training processes of a machine, at most 16 each, and leaves one core to training.
        statistics: of the bands: a JSON file of ``tools/compute_stats.py``, or ``None`` for the
            published statistics of MillionAID (8-bit RGB only).
        knn_train: labelled images that vote in the online kNN.
        knn_val: labelled images that are classified by it.
        on_error: what an unreadable image does: ``error`` or ``skip`` (counted, reported).
        seed: of the order of images and of the views' geometry.
    """

    def __init__(
        self,
        source: ImageSource,
        views: SampleTransform,
        *,
        batch_size: int = 64,
        num_workers: int = -1,
        statistics: str | os.PathLike[str] | None = None,
        knn_train: ImageSource | None = None,
        knn_val: ImageSource | None = None,
        on_error: Literal["error", "skip"] = "error",
        seed: int = 0,
    ) -> None:
        super().__init__(
            source,
            views,
            batch_size=batch_size,
            num_workers=num_workers,
            on_error=on_error,
            seed=seed,
        )
        if (knn_train is None) != (knn_val is None):
            raise ValueError("data.knn_train and data.knn_val are needed together")
        self.source = source
        self.views = views
        self.knn_train = knn_train
        self.knn_val = knn_val
        self.statistics = (
            MILLION_AID if statistics is None else ChannelStatistics.from_json(statistics)
        )
        if len(self.statistics.mean) != source.num_bands:
            raise ValueError(
                f"data.statistics describes {len(self.statistics.mean)} bands, the source has"
                f" {source.num_bands}: compute them with tools/compute_stats.py"
            )

    @property
    def image_size(self) -> int:
        return self.views.size

    @property
    def num_bands(self) -> int:
        return self.source.num_bands
