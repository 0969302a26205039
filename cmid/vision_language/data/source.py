"""The one interface of image-text data: an indexable source of images, captions and regions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from cmid.boxes import Box
from cmid.data.source import Draws, Image, MinSize


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


class ImageTextSource(ABC):
    """An indexable source of images with texts.

    Like `cmid.data.source.ImageSource`: cheap to pickle, files are opened lazily, and the same
    ``(index, generator state)`` always gives the same entry. Images have three bands.

    Attributes:
        has_regions: whether images may have annotated regions; captions alone bring none.
    """

    num_bands: int = 3
    has_regions: bool = True

    @abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    def decode(self, index: int, min_size: MinSize, generator: Draws) -> ImageText:
        """Decode one image: what a source has to do; ``index`` lies in its range."""
        raise NotImplementedError(f"{type(self).__name__} has no method decode")

    def read(self, index: int, *, min_size: MinSize = None, generator: Draws = None) -> ImageText:
        """Decode one image; arguments and errors are those of `ImageSource.read`."""
        if not 0 <= index < len(self):
            raise IndexError(f"{type(self).__name__} has {len(self)} images, no number {index}")
        return self.decode(index, min_size, generator)

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

    def __getitem__(self, index: int) -> ImageText:
        return self.read(index)
