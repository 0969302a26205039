"""Captioned images in tar shards, such as RS5M."""

from __future__ import annotations

import os
from collections.abc import Sequence

from cmid.data.source import Draws, MinSize
from cmid.data.tar_shards import IMAGE_KEYS, TarShards
from cmid.vision_language.data.source import ImageText, ImageTextSource


class CaptionShards(ImageTextSource):
    """Images and captions of tar shards in the WebDataset convention, addressed at random.

    The defaults read RS5M (``img_content``, ``caption``; its ``img_name`` is not needed, entries
    are named by shard and key) and shards of ``jpg`` or ``png`` with ``txt``.

    Args:
        shards: see `cmid.data.tar_shards.TarShards`.
        image_keys: endings that hold the encoded image; the first that a sample has counts.
        text_keys: endings that hold the caption, likewise. Samples without image or
            caption are left out and reported.

    Attributes:
        left_out: number of samples that were left out.

    Raises:
        FileNotFoundError, ValueError: as `TarShards`.
    """

    has_regions = False

    def __init__(
        self,
        shards: str | os.PathLike[str] | Sequence[str],
        *,
        image_keys: Sequence[str] = IMAGE_KEYS,
        text_keys: Sequence[str] = ("caption", "txt"),
    ) -> None:
        self._shards = TarShards(shards, image_keys=image_keys, label_key=None, text_keys=text_keys)
        self.left_out = self._shards.left_out

    def __len__(self) -> int:
        return len(self._shards)

    @property
    def digest(self) -> str:
        return self._shards.digest

    def name(self, index: int) -> str:
        return os.path.basename(self._shards.name(index))

    def captions(self, index: int) -> tuple[str, ...]:
        """The caption of one image; raises UnreadableImageError if it is empty."""
        return (self._shards.read_text(index),)

    def decode(self, index: int, min_size: MinSize, generator: Draws) -> ImageText:
        captions = self.captions(index)
        return ImageText(self._shards.read(index, min_size=min_size), captions)
