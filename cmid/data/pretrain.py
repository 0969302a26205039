"""Batches for pretraining, and labelled images to watch it with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cmid.data.checked import CheckedSource
from cmid.data.classes import match_classes, require_labels
from cmid.data.resumable import ResumableData
from cmid.data.source import ImageSource, UnreadableImageError
from cmid.data.statistics import MILLION_AID, ChannelStatistics
from cmid.data.transform import SampleTransform


class PretrainData(ResumableData):
    """Images for pretraining, and optionally labelled ones to watch features on.

    Args:
        source: unlabelled images (labels are ignored).
        views: what a worker makes of an image.
        statistics: band statistics: a JSON file of ``tools/compute_stats.py``, or ``None`` for the
            published statistics of MillionAID (8-bit RGB only).
        knn_train: labelled images that vote in the online kNN.
        knn_val: labelled images that are classified by it; their classes are found by name among
            those of ``knn_train``.
        **loading: of `ResumableData`.

    Raises:
        ValueError: sources of other bands, or unlabelled or differing classes for the kNN.
    """

    def __init__(
        self,
        source: ImageSource,
        views: SampleTransform,
        *,
        statistics: str | Path | None = None,  # jsonargparse's PathLike has no null
        knn_train: ImageSource | None = None,
        knn_val: ImageSource | None = None,
        **loading: Any,
    ) -> None:
        known = MILLION_AID if statistics is None else ChannelStatistics.from_json(statistics)
        checked = CheckedSource(source, known)
        known = known.of_source(source)  # an export tells of which bands it was trained
        super().__init__(checked, views, **loading)
        if (knn_train is None) != (knn_val is None):
            raise ValueError("data.knn_train and data.knn_val are needed together")
        self.source = source
        self.views = views
        self.knn_train = knn_train
        self.knn_val = knn_val
        self.statistics = known
        if len(known.mean) != source.num_bands:
            raise ValueError(
                f"data.statistics describes {len(known.mean)} bands, the source has"
                f" {source.num_bands}: compute them with tools/compute_stats.py"
            )
        self._check_knn()

    def _check_knn(self) -> None:
        if self.knn_train is None or self.knn_val is None:
            return
        for name, labelled in (("data.knn_train", self.knn_train), ("data.knn_val", self.knn_val)):
            if labelled.num_bands != self.source.num_bands:
                raise ValueError(
                    f"{name} has {labelled.num_bands} bands, data.source {self.source.num_bands}:"
                    " give images of the same bands"
                )
            require_labels(labelled, name)
        match_classes(self.knn_train, self.knn_val, names=("data.knn_train", "data.knn_val"))

    def setup(self, stage: str | None = None) -> None:
        """Check the first image of each source before training starts.

        The others are checked as they are read.

        Raises:
            ImageValuesError: it does not fit the statistics; names the file.
        """
        for source in filter(None, (self.source, self.knn_train, self.knn_val)):
            try:
                image = source.read(0, min_size=(1, 1), generator=np.random.default_rng(self.seed))
            except UnreadableImageError:
                continue  # reported where it is read in its turn
            self.statistics.check(image)

    @property
    def num_bands(self) -> int:
        return self.source.num_bands
