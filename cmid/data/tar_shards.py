"""Images in tar shards of the WebDataset convention, addressed at random.

A streamed shard cannot be split over processes and workers without loss or repetition, and cannot
be resumed exactly. Local shards can be indexed instead: each is scanned once for its headers, and
every sample is then read by its offset. Names follow the `webdataset` library, which also expands
brace patterns; its own random-access reader (``wids``) is no longer part of it since version 1.0.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from glob import glob, has_magic
from io import FileIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from webdataset.shardlists import expand_urls
from webdataset.tariterators import base_plus_ext

from cmid.data.decoding import read_image
from cmid.data.folder import number_labels
from cmid.data.process_cache import ProcessCache
from cmid.data.source import Draws, Image, ImageSource, MinSize, UnreadableImageError
from cmid.data.text_files import decode_text

logger = logging.getLogger(__name__)

IMAGE_KEYS = ("jpg", "jpeg", "png", "webp", "tif", "tiff", "img_content")
_META = re.compile(r"(?:.*/)?__[^/]*__(?:$|/)")
_BLOCK = tarfile.BLOCKSIZE
_OPEN_SHARDS = 64


class TarShards(ImageSource):
    """Samples of tar shards: neighbouring files that share a base name, told apart by endings.

    The index of all samples (some 50 bytes each) is made once, at some 40,000 files a second, and
    sent to the workers.

    Args:
        shards: a path, a brace pattern such as ``train-{000..127}.tar``, a pattern with ``*``, or
            a list of these.
        image_keys: endings that hold the encoded image, in lower case; the first one that a sample
            has counts. Samples with none of them are left out and reported.
        label_key: ending of the class as text, a number or a name; ``None`` for no labels. Samples
            without it have label -1.
        text_keys: endings that hold a text for `read_text`; the first one that a sample has counts.
            If there are any, samples with none of them are left out and reported.

    Attributes:
        left_out: number of samples that were left out.

    Raises:
        FileNotFoundError: a shard is missing.
        ValueError: a shard is no (uncompressed) tar file or is truncated, or no sample has an
            image (and a text).
    """

    def __init__(
        self,
        shards: str | os.PathLike[str] | Sequence[str],
        *,
        image_keys: Sequence[str] = IMAGE_KEYS,
        label_key: str | None = "cls",
        text_keys: Sequence[str] = (),
    ) -> None:
        self.shards = _expand(shards)
        spans: list[tuple[int, int, int]] = []
        text_spans: list[tuple[int, int]] = []
        keys: list[bytes] = []
        labels: list[str] = []
        self.left_out = 0
        for number, shard in enumerate(self.shards):
            for key, members, label in _samples(shard, label_key):
                image = next((members[k] for k in image_keys if k in members), None)
                text = next((members[k] for k in text_keys if k in members), None)
                if image is None or (text_keys and text is None):
                    self.left_out += 1
                    continue
                spans.append((number, *image))
                if text is not None:
                    text_spans.append(text)
                keys.append(os.fsencode(key))
                labels.append(label)
        if not spans:
            wanted = " and one of ".join(", ".join(k) for k in (image_keys, text_keys) if k)
            raise ValueError(
                f"no sample of {', '.join(self.shards[:3])} has one of the keys {wanted}: name"
                f" yours with image_keys{' and text_keys' if text_keys else ''}"
            )
        if self.left_out:
            what = "an image and a text" if text_keys else "an image"
            logger.warning(
                "%s: %d samples without %s left out", self.shards[0], self.left_out, what
            )
        self.spans = np.array(spans, dtype=np.int64)  # (N, 3): shard, offset, size
        self.text_spans = np.array(text_spans, dtype=np.int64).reshape(-1, 2)  # offset, size
        self.keys: NDArray[np.bytes_] = np.array(keys)
        self.labels = np.full(len(spans), -1, dtype=np.int64)
        labelled = [i for i, label in enumerate(labels) if label]
        if labelled:
            self.labels[labelled], classes = number_labels([labels[i] for i in labelled])
            self.classes = tuple(classes)
        self._files: ProcessCache[FileIO] = ProcessCache(_OPEN_SHARDS, drop=FileIO.close)

    def __len__(self) -> int:
        return len(self.spans)

    def decode(self, index: int, min_size: MinSize, generator: Draws) -> Image:
        name = self.name(index)
        data = self._read_bytes(index, *self.spans[index, 1:].tolist())
        image = read_image(data, name=name, min_size=min_size, num_bands=self.num_bands)
        return replace(image, label=int(self.labels[index]))

    def read_text(self, index: int) -> str:
        """The text of a sample, without white space around it; only with ``text_keys``.

        Raises:
            UnreadableImageError: it is empty, or not UTF-8.
        """
        data = self._read_bytes(index, *self.text_spans[index].tolist())
        name, reason = self.name(index), "there is none"
        try:
            text = decode_text(data, name=name).strip()
        except ValueError as error:
            text, reason = "", str(error)
        if not text:
            raise UnreadableImageError(f"{name}: its text is empty or not UTF-8 ({reason})")
        return text

    @property
    def digest(self) -> str:
        """Hash of the shards' names, and of the keys, places and sizes of their files."""
        digest = hashlib.sha256(repr([os.path.basename(shard) for shard in self.shards]).encode())
        for array in (self.spans, self.text_spans, self.keys):
            digest.update(array.tobytes())
        return digest.hexdigest()

    def name(self, index: int) -> str:
        """Shard and key of a sample."""
        return f"{self.shards[int(self.spans[index, 0])]}:{os.fsdecode(bytes(self.keys[index]))}"

    def _read_bytes(self, index: int, offset: int, size: int) -> bytes:
        name, number = self.name(index), int(self.spans[index, 0])
        try:
            file = self._files.get(number, lambda: FileIO(self.shards[number]))
            data = os.pread(file.fileno(), size, offset)
        except OSError as error:
            raise UnreadableImageError(f"{name}: {error.strerror}; copy the shard again") from error
        if len(data) < size:
            raise UnreadableImageError(f"{name}: shard is truncated; copy it again")
        return data


def _expand(shards: str | os.PathLike[str] | Sequence[str]) -> list[str]:
    patterns = [shards] if isinstance(shards, str | os.PathLike) else shards
    expanded = [path for pattern in patterns for path in expand_urls(os.fspath(pattern))]
    found = []
    for path in expanded:
        matches = sorted(glob(path)) if has_magic(path) and not Path(path).exists() else [path]
        if not matches:
            raise FileNotFoundError(f"no tar shard matches {path}")
        found += matches
    missing = [path for path in found if not Path(path).is_file()]
    if missing or not found:
        names = ", ".join(missing[:3]) or "none named"
        raise FileNotFoundError(f"{len(missing)} of {len(found)} tar shards do not exist: {names}")
    return found


def _samples(
    shard: str, label_key: str | None
) -> Iterator[tuple[str, dict[str, tuple[int, int]], str]]:
    """Each sample's base name, its files' ``(offset, size)`` by ending, and its label's text."""
    current, members, label = "", dict[str, tuple[int, int]](), ""
    with open(shard, "rb") as file:
        for member in _members(shard):
            key, ending = base_plus_ext(member.name)
            if key is None or not member.isreg() or _META.match(member.name):
                continue
            if key != current and members:
                yield current, members, label
                members, label = {}, ""
            current = key
            members[ending.lower()] = (member.offset_data, member.size)
            if ending.lower() == label_key:
                data = os.pread(file.fileno(), member.size, member.offset_data)
                label = decode_text(data, name=f"{shard}:{member.name}").strip()
    if members:
        yield current, members, label


def _members(shard: str) -> Iterator[tarfile.TarInfo]:
    """Members in their order; an archive that stops before its end mark raises ValueError."""
    end = 0
    try:
        with open(shard, "rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            while (member := archive.next()) is not None:
                # Else tarfile keeps all headers, half a kilobyte each.
                archive.members.clear()  # type: ignore[attr-defined]
                end = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
                yield member
            file.seek(end)
            # tarfile takes a cut between two files, and a damaged header, for the end.
            complete = file.read(_BLOCK) == bytes(_BLOCK)
    except (tarfile.TarError, OSError) as error:
        raise ValueError(
            f"tar shard {shard} is truncated or no uncompressed tar file ({error}): copy it again"
        ) from error
    if not complete:
        raise ValueError(f"tar shard {shard} is truncated after {end} bytes: copy it again")
