"""Generated scenes as an image source."""

from __future__ import annotations

import math
import mmap
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmid.data.scenes.scene import SCENE_CLASSES, SMALLEST_SIZE, generate_scene, scene_label
from cmid.data.source import Draws, Image, ImageSource, MinSize


class SceneSource(ImageSource):
    """Generated scenes as a labelled image source.

    Args:
        num_images: number of scenes; classes are balanced.
        size: height and width in pixels.
        num_bands: 3, or more with infrared.
        seed: sources of different seeds share no scene (training and validation).
        second_date: give the same place at a second date, too: another season, light and haze, and
            some of its objects changed.
        keep: hold scenes in memory once they are generated, ``num_images * num_bands * size**2``
            bytes a date in all: generating a scene costs more than a small network's step on it.
            Reading processes share the memory where the system forks them.
    """

    def __init__(
        self,
        num_images: int = 10000,
        *,
        size: int = 64,
        num_bands: int = 3,
        seed: int = 0,
        second_date: bool = False,
        keep: bool = False,
    ) -> None:
        if num_images < 1 or size < SMALLEST_SIZE or num_bands < 3:
            raise ValueError(
                f"scenes need num_images >= 1, size >= {SMALLEST_SIZE} and num_bands >= 3, "
                f"not num_images={num_images}, size={size}, num_bands={num_bands}"
            )
        self.num_images = num_images
        self.size = size
        self.num_bands = num_bands
        self.seed = seed
        self.second_date = second_date
        self.keep = keep
        self.classes = SCENE_CLASSES
        self._kept = self._memory() if keep else None

    def __len__(self) -> int:
        return self.num_images

    @property
    def labels(self) -> NDArray[np.int64]:
        """``(N,)`` classes; no scene is generated for that."""
        return np.array([scene_label(index, seed=self.seed) for index in range(len(self))])

    def decode(self, index: int, min_size: MinSize, generator: Draws) -> Image:
        """Generate scene ``index``; ``min_size`` and ``generator`` have no effect."""
        dates = None if self._kept is None else self._kept.get(index)
        if dates is None:
            dates = self._generate(index)
            if self._kept is not None:
                self._kept.put(index, dates)
        return Image(
            dates[0],
            (self.size, self.size),
            scene_label(index, seed=self.seed),
            f"scene/{self.seed}/{index}",
            second_date=dates[1] if self.second_date else None,
        )

    def _generate(self, index: int) -> Tensor:
        """The dates of a scene, ``(1 or 2, C, H, W)`` uint8."""
        scene = generate_scene(
            index,
            seed=self.seed,
            size=self.size,
            num_bands=self.num_bands,
            second_date=self.second_date,
        )
        dates = (scene.image, scene.image_second)
        return torch.stack([date for date in dates if date is not None])

    def _memory(self) -> _SharedImages:
        shape = (1 + self.second_date, self.num_bands, self.size, self.size)
        return _SharedImages(self.num_images, shape)

    def __getstate__(self) -> dict[str, Any]:
        """A copy for a spawned process starts with nothing kept."""
        return self.__dict__ | {"_kept": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        if self.keep:
            self._kept = self._memory()


class _SharedImages:
    """uint8 images of one shape in anonymous memory, which forked processes share.

    Unlike files of ``/dev/shm`` it knows no limit of its own, which containers set low.
    """

    def __init__(self, count: int, shape: tuple[int, ...]) -> None:
        def shared(*sizes: int) -> Tensor:
            memory = mmap.mmap(-1, math.prod(sizes))
            return torch.frombuffer(memory, dtype=torch.uint8).view(sizes)

        self.pixels = shared(count, *shape)
        self.present = shared(count)

    def get(self, index: int) -> Tensor | None:
        return self.pixels[index].clone() if self.present[index] else None

    def put(self, index: int, pixels: Tensor) -> None:
        # Marked last: whoever sees the mark finds the pixels.
        self.pixels[index] = pixels
        self.present[index] = 1
