"""A source whose images are known to fit the statistics that standardise them."""

from __future__ import annotations

import numpy as np

from cmid.data.source import Image, ImageSource
from cmid.data.statistics import ChannelStatistics


class CheckedSource(ImageSource):
    """Images of another source; one that does not fit the statistics is an error.

    Statistics of 8-bit images would turn 16-bit ones white, and nothing would say so.

    Args:
        source: any.
        statistics: that the images will be standardised with.
    """

    def __init__(self, source: ImageSource, statistics: ChannelStatistics) -> None:
        self.source = source
        self.statistics = statistics
        self.num_bands = source.num_bands
        self.classes = source.classes

    def __len__(self) -> int:
        return len(self.source)

    def read(
        self,
        index: int,
        *,
        min_size: tuple[float, float] | None = None,
        generator: np.random.Generator | None = None,
    ) -> Image:
        """Read an image of the source.

        Raises:
            UnreadableImageError: as of the source.
            ImageValuesError: it does not fit the statistics.
        """
        image = self.source.read(index, min_size=min_size, generator=generator)
        self.statistics.check(image)
        return image
