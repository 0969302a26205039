"""Image files with texts that were read from an annotation file."""

from __future__ import annotations

import hashlib
import json
import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmid.boxes import Box
from cmid.data.decoding import read_image
from cmid.data.source import Draws, MinSize, UnreadableImageError
from cmid.data.templates import check_templates, fill_templates
from cmid.vision_language.data.problems import OnError, Problems
from cmid.vision_language.data.source import ImageText, ImageTextSource, Region
from cmid.vision_language.prompts.templates import CATEGORY_TEMPLATES


@dataclass(frozen=True)
class RegionEntry:
    """A region of an annotation file: a category, captions of its own, or both."""

    box: Box
    category: str | None = None
    captions: tuple[str, ...] = ()


@dataclass(frozen=True)
class FileEntry:
    """An image of an annotation file.

    Attributes:
        path: relative to the folder of the images.
        captions: captions of the image, at least one.
        regions: boxes in pixels of an image of ``size``.
        size: height and width that the annotations are for; None where there are no boxes.
    """

    path: str
    captions: tuple[str, ...]
    regions: tuple[RegionEntry, ...] = ()
    size: tuple[int, int] | None = None


class AnnotatedFiles(ImageTextSource):
    """What sources of image files with an annotation file have in common.

    Args:
        path: the annotation file.
        root: folder that paths of images start from; by default the folder of the file.
        on_error: ``error`` stops at the first faulty entry; ``skip`` counts them.

    Attributes:
        templates: prompts of a region's category, with ``{}`` in them.
        skipped: one line for every entry that is faulty and was skipped.
        left_out: counts of what options leave out, by reason.

    Raises:
        FileNotFoundError: the file or its first image does not exist.
        ValueError: there is no entry, or a faulty one; names the file and the entry.
    """

    templates: Sequence[str] = CATEGORY_TEMPLATES

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        root: str | Path | None = None,  # jsonargparse's PathLike has no null
        on_error: OnError = "error",
    ) -> None:
        path = Path(path)
        problems = Problems(path, on_error)
        self.root = path.parent if root is None else Path(root)
        self._file = path.name
        self.templates = check_templates(self.templates)
        self._records = PackedRecords(asdict(entry) for entry in self.entries(path, problems))
        self.skipped = tuple(problems.skipped)
        self.left_out = dict(problems.left_out)
        problems.report()
        if not len(self):
            raise ValueError(f"{path} names no image with a text that is asked for")
        # The usual mistake is the wrong folder; it should not take a worker to find it.
        first = self.root / self._records[0]["path"]
        if not first.is_file():
            raise FileNotFoundError(
                f"{path}: its first image {first} does not exist; name the folder of the images"
                " with root (--images of a command)"
            )

    @abstractmethod
    def entries(self, path: Path, problems: Problems) -> Iterator[FileEntry]:
        """The images of the annotation file, whose faults go to ``problems``."""

    def __len__(self) -> int:
        return len(self._records)

    @property
    def digest(self) -> str:
        return self._records.digest

    def name(self, index: int) -> str:
        return f"{self._file}:{index}:{self._records[index]['path']}"

    def captions(self, index: int) -> tuple[str, ...]:
        return tuple(self._records[index]["captions"])

    def path(self, index: int) -> Path:
        """The file of an image."""
        return self.root / self._records[index]["path"]

    def decode(self, index: int, min_size: MinSize, generator: Draws) -> ImageText:
        """Decode an image.

        Raises:
            UnreadableImageError: it cannot be decoded, or has another shape than its annotations.
        """
        record = self._records[index]
        path = self.root / record["path"]
        image = read_image(path, min_size=min_size, num_bands=self.num_bands)
        scale = _scale(record["size"], image.full_size, path)
        regions = tuple(self._region(entry, scale) for entry in record["regions"])
        return ImageText(image, tuple(record["captions"]), regions)

    def _region(self, entry: dict[str, Any], scale: tuple[float, float]) -> Region:
        x0, y0, x1, y1 = entry["box"]
        box = (x0 * scale[1], y0 * scale[0], x1 * scale[1], y1 * scale[0])
        category, captions = entry["category"], tuple(entry["captions"])
        prompts = fill_templates(self.templates, category) if category else ()
        return Region(box, prompts + captions, category, captions)


def _scale(
    annotated: Sequence[int] | None, stored: tuple[int, int], path: Path
) -> tuple[float, float]:
    """Factors from annotated to stored pixels, for images that were resized as a whole."""
    if annotated is None:
        return 1.0, 1.0
    scale = stored[0] / annotated[0], stored[1] / annotated[1]
    # Of the shorter side, rounding alone may take half a pixel.
    tolerance = 0.01 + 0.5 / min(*stored, *annotated)
    if abs(scale[0] / scale[1] - 1) > tolerance:
        raise UnreadableImageError(
            f"{path} has width {stored[1]} and height {stored[0]}, its annotations are for"
            f" {annotated[1]} and {annotated[0]}: correct them, or the image"
        )
    return scale


class PackedRecords:
    """Records as JSON in one array of bytes: forked workers do not copy it, pickling is quick."""

    def __init__(self, records: Iterable[Any]) -> None:
        encoded = [json.dumps(record).encode() for record in records]
        self._ends: NDArray[np.int64] = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        self._bytes: NDArray[np.uint8] = np.frombuffer(b"".join(encoded), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @property
    def digest(self) -> str:
        return hashlib.sha256(self._bytes.data).hexdigest()

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(f"entry {index} of {len(self)}")
        return json.loads(self._bytes[self._ends[index] : self._ends[index + 1]].tobytes())
