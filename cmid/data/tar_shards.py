"""Images in tar shards of the WebDataset convention, addressed at random.

A streamed shard cannot be split over processes and workers without loss or repetition,
and cannot be resumed exactly. Local shards can be indexed instead: each is scanned once for its
headers (about a second per hundred thousand members), and every sample is then read by its offset.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from webdataset.shardlists import expand_urls
from webdataset.tariterators import base_plus_ext

from cmid.data.decoding import decode_image
from cmid.data.source import Image, ImageSource, UnreadableImageError

IMAGE_KEYS = ("jpg", "jpeg", "png", "webp", "tif", "tiff", "img_content")


class TarShards(ImageSource):
    """Samples of tar shards: files that share a base name, told apart by their endings.

    Args:
        shards: a path, a brace pattern such as ``train-{000..127}.tar``, or a list of either.
        image_keys: endings that hold the encoded image; the first one of a sample counts.
        label_key: ending that holds the class index as text, for labelled shards.

    Raises:
        FileNotFoundError: a shard is missing.
        ValueError: a shard is no tar file or is truncated, a label is no number, or no sample has
            an image.
    """

    def __init__(
        self,
        shards: str | os.PathLike[str] | Sequence[str],
        *,
        image_keys: Sequence[str] = IMAGE_KEYS,
        label_key: str | None = None,
    ) -> None:
        patterns = [os.fspath(shards)] if isinstance(shards, str | os.PathLike) else list(shards)
        self.shards = [path for pattern in patterns for path in expand_urls(pattern)]
        self.skipped = 0
        spans: list[tuple[int, int, int]] = []
        keys: list[str] = []
        labels: list[int] = []
        for number, shard in enumerate(self.shards):
            for key, members in _samples(shard).items():
                image = next((members[k] for k in image_keys if k in members), None)
                if image is None:
                    self.skipped += 1
                    continue
                spans.append((number, image.offset_data, image.size))
                keys.append(key)
                labels.append(_label(shard, key, members.get(label_key or "")))
        if not spans:
            raise ValueError(
                f"no sample of {', '.join(self.shards[:3])} has one of the keys"
                f" {', '.join(image_keys)}: name yours with image_keys"
            )
        self.spans = np.array(spans, dtype=np.int64)
        self.keys = np.array([os.fsencode(key) for key in keys])
        self.labels = np.array(labels, dtype=np.int64)
        if label_key:
            self.classes = tuple(str(i) for i in range(int(self.labels.max()) + 1))
        self._files: dict[int, Any] = {}
        self._process = os.getpid()

    def __len__(self) -> int:
        return len(self.spans)

    def read(
        self,
        index: int,
        *,
        min_size: tuple[float, float] | None = None,
        generator: np.random.Generator | None = None,
    ) -> Image:
        number, offset, size = (int(value) for value in self.spans[index])
        name = f"{self.shards[number]}:{os.fsdecode(bytes(self.keys[index]))}"
        try:
            # One read at a position: processes that share the descriptor do not disturb each other.
            data = os.pread(self._open(number).fileno(), size, offset)
        except OSError as error:
            raise UnreadableImageError(f"{name}: {error.strerror}") from error
        if len(data) < size:
            raise UnreadableImageError(f"{name}: shard is truncated; copy it again")
        pixels, full_size = decode_image(
            data, name=name, min_size=min_size, num_bands=self.num_bands
        )
        return Image(pixels, full_size, int(self.labels[index]), name)

    def _open(self, number: int) -> Any:
        if number not in self._files:
            self._files[number] = open(self.shards[number], "rb")  # noqa: SIM115 - kept open
        return self._files[number]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}


def _samples(shard: str) -> dict[str, dict[str, tarfile.TarInfo]]:
    """Members of a shard by base name and ending, in their order."""
    if not Path(shard).is_file():
        raise FileNotFoundError(f"tar shard {shard} does not exist")
    samples: dict[str, dict[str, tarfile.TarInfo]] = {}
    end = 0
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                end = max(end, member.offset_data + member.size)
                key, ending = base_plus_ext(member.name)
                if member.isfile() and key is not None:
                    samples.setdefault(key, {})[ending.lower()] = member
    except (tarfile.TarError, OSError) as error:
        raise ValueError(f"tar shard {shard} is damaged ({error}): copy it again") from error
    if end > os.path.getsize(shard):
        raise ValueError(f"tar shard {shard} is truncated: copy it again")
    return samples


def _label(shard: str, key: str, member: tarfile.TarInfo | None) -> int:
    if member is None:
        return -1
    with open(shard, "rb") as file:
        text = os.pread(file.fileno(), member.size, member.offset_data)
    try:
        return int(text)
    except ValueError as error:
        raise ValueError(f"{shard}:{key}: label {text[:20]!r} is not a number") from error
