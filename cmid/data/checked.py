"""A source whose images are known to fit the statistics that standardise them."""

from __future__ import annotations

from cmid.data.source import Draws, Image, ImageSource, MinSize, WrappedSource
from cmid.data.statistics import ChannelStatistics


class CheckedSource(WrappedSource):
    """Images of another source; one that does not fit the statistics is an error.

    Statistics of 8-bit images would turn 16-bit ones white, and nothing would say so; those of red,
    green and blue would make sense of blue, green and red, and nothing would, either.

    Args:
        source: any.
        statistics: statistics that will standardise the images.

    Raises:
        ImageValuesError: the source has other bands, or the same in another order.
    """

    def __init__(self, source: ImageSource, statistics: ChannelStatistics) -> None:
        super().__init__(source)
        statistics.check_bands(source.sensor, source.band_names)
        self.statistics = statistics

    def decode(self, index: int, min_size: MinSize, generator: Draws) -> Image:
        """Read an image of the source; raises ImageValuesError for one that does not fit."""
        image = super().decode(index, min_size, generator)
        self.statistics.check(image)
        return image
