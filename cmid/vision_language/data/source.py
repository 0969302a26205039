"""The one interface of image-text data: an indexable source of images, captions and regions."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from cmid.boxes import Box
from cmid.data.source import Image, IndexedSource


@dataclass(frozen=True)
class Region:
    """A part of an image and what can be said of it.

    Attributes:
        box: x0, y0, x1, y1 in pixels of the stored image.
        texts: prompts of its category and captions of its own, at least one in all.
        category: name as text, such as ``storage tank``; None where only captions are known.
        captions: the ``texts`` that speak of this region rather than of its category.
    """

    box: Box
    texts: tuple[str, ...]
    category: str | None
    captions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.texts:
            raise ValueError(f"the region {self.box} has no text")

    def key(self, text: str) -> str:
        """What one of its texts is about: all prompts of a category are about the same."""
        return text if self.category is None or text in self.captions else self.category


@dataclass(frozen=True)
class ImageText:
    """One decoded image with its captions (each true of the whole image) and regions."""

    image: Image
    captions: tuple[str, ...]
    regions: tuple[Region, ...] = ()


class ImageTextSource(IndexedSource[ImageText]):
    """An indexable source of images with texts; images have three bands.

    Attributes:
        has_regions: whether images may have annotated regions; captions alone bring none.
    """

    has_regions: bool = True

    @abstractmethod
    def captions(self, index: int) -> tuple[str, ...]:
        """The captions of one image, without decoding it."""

    def name(self, index: int) -> str:
        """What an image is called for good: file and row, or shard and key; no folder of a machine.

        Raises:
            ValueError: this source has no names.
        """
        raise ValueError(f"{type(self).__name__} has no method name: it cannot be filtered")

    @property
    def digest(self) -> str:
        """Hash of names, texts and their order, by which a selection knows its source.

        It depends neither on where the files lie, nor on the pixels of image files.

        Raises:
            ValueError: this source has none.
        """
        raise ValueError(f"{type(self).__name__} has no digest: it cannot be filtered")
