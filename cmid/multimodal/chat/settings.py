"""What a user of a chat may choose; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cmid.options import at_least, option

MAX_UPLOAD = 40
"""Megabytes of a file that the page takes, if nothing else is said."""
Stretch = Literal["auto", "always", "never"]


@dataclass(frozen=True)
class ChatConfig:
    """A chat with a model.

    Attributes:
        model: folder of a multimodal model.
        language_model: where its language model lies, if elsewhere than the folder says.
        device: where it computes: cpu, cuda, cuda:1.
        temperature: 0 takes the likeliest token each time; above, tokens are drawn.
        top_p: draw from the likeliest tokens that together have this probability.
        max_tokens: longest answer.
        earlier: earlier questions that the model reads again with a new one (default: all that
            fit; none for a model that was trained on single questions).
        bands: numbers, from 1, or names of bands of GeoTIFFs (default: as many as the model sees).
        stretch: from the 2nd to the 98th percentile of a band to 8 bits: auto does it to wider
            values for a model of 8-bit images.
        box_cells: how the model writes boxes: 1 fractions of the image, else whole numbers up to
            99, 100 or 1000 (default: as the model's folder says, else fractions).
        max_images: of a conversation.
        max_pixels: of an image.
        max_letters: of a question.
    """

    model: str
    language_model: str | None = None
    device: str = "cpu"
    temperature: Annotated[float, at_least(0)] = 0.0
    top_p: Annotated[float, at_least(0, 1)] = 1.0
    max_tokens: Annotated[int, at_least(1)] = 256
    earlier: Annotated[int, at_least(0)] | None = None
    bands: tuple[str, ...] = option((), metavar="BAND")
    stretch: Stretch = "auto"
    box_cells: Annotated[int, at_least(1)] | None = None
    max_images: Annotated[int, at_least(1)] = 8
    max_pixels: Annotated[int, at_least(1)] = 100_000_000
    max_letters: Annotated[int, at_least(1)] = 4000


@dataclass(frozen=True)
class PlaceConfig:
    """Where a chat takes place.

    Attributes:
        image: images to begin with.
        web: open a page instead of a chat in the terminal.
        port: of the page (default: the first free one from 7860 on).
        share: reach the page from anywhere by a link of gradio's servers, for all who know it.
        max_upload: megabytes of a file that the page takes (default: 40).
    """

    image: tuple[Path, ...] = option((), metavar="FILE")
    web: bool = False
    port: Annotated[int, at_least(1, 65535)] | None = None
    share: bool = False
    max_upload: Annotated[int, at_least(1)] | None = None

    def __post_init__(self) -> None:
        if not self.web and (self.share or self.port or self.max_upload):
            raise ValueError("--share, --port and --max_upload are about the page: give --web, too")
