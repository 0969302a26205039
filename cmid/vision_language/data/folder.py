"""A folder of images, each with its captions in a text file of the same name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from cmid.data.folder import IMAGE_EXTENSIONS
from cmid.data.listing import find_files
from cmid.data.text_files import stripped_lines
from cmid.vision_language.data.files import AnnotatedFiles, FileEntry
from cmid.vision_language.data.problems import AnnotationError, OnError, Problems


class CaptionFolder(AnnotatedFiles):
    """Images at any depth and beside each, as ``ship.txt`` beside ``ship.jpg``, a caption a line.

    Args:
        root: the folder.
        on_error: ``error`` stops at the first image without a caption; ``skip`` counts them.

    Raises:
        FileNotFoundError: the folder is missing.
        ValueError: no image has a caption, or one has none.
    """

    has_regions = False

    def __init__(self, root: str | os.PathLike[str], *, on_error: OnError = "error") -> None:
        super().__init__(root, root=Path(root), on_error=on_error)

    def entries(self, path: Path, problems: Problems) -> Iterator[FileEntry]:
        if not path.is_dir():
            raise FileNotFoundError(f"folder of captioned images {path} does not exist")
        for name in find_files(path, [*IMAGE_EXTENSIONS, ".txt"]):
            stem, ending = os.path.splitext(name)
            if ending.lower() == ".txt":
                continue
            with problems.at(name):
                try:
                    captions = stripped_lines(path / f"{stem}.txt")
                except FileNotFoundError:
                    captions = []
                except ValueError as error:
                    raise AnnotationError(str(error)) from None
                if not captions:
                    raise AnnotationError(f"there is no caption in {stem}.txt beside it")
                yield FileEntry(name, tuple(captions))
