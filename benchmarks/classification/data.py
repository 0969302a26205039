"""Labelled images for fine-tuning: augmented for training, squared for the test."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from timm.data import create_transform
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2
from torchvision.transforms.functional import to_pil_image

from cmid.data import ChannelStatistics, ImageSource, open_split
from cmid.data.checked import CheckedSource
from cmid.views.crops import resize


class ClassificationImages(Dataset[tuple[Tensor, int]]):
    """Images of a source with their classes.

    Training images are cropped at random and flipped both ways (nadir imagery has no up); 8-bit RGB
    also gets timm's RandAugment, which knows no other imagery.

    Args:
        source: labelled images.
        size: pixels per side.
        augment: None for the test; else the policy of timm's auto-augmentation (empty: none).
    """

    def __init__(self, source: ImageSource, size: int, *, augment: str | None = None) -> None:
        self.source = source
        self.size = size
        self.augment = augment
        self.rgb: Any = None
        self.other: Any = None
        if augment is not None:
            self.rgb = create_transform(
                size,
                is_training=True,
                auto_augment=augment or None,
                color_jitter=None,  # type: ignore[arg-type]  # timm's way to say: none
                vflip=0.5,
                interpolation="bicubic",
                normalize=False,
            )
            self.other = v2.Compose(
                [
                    v2.RandomResizedCrop(size, scale=(0.08, 1), antialias=True),
                    v2.RandomHorizontalFlip(),
                    v2.RandomVerticalFlip(),
                ]
            )

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """``(C, size, size)`` stored values and a class."""
        if self.augment is None:
            image = self.source.read(index, min_size=(self.size, self.size))
            return resize(image.pixels, (self.size, self.size)).contiguous(), image.label
        image = self.source.read(index)
        pixels = image.pixels
        if pixels.dtype == torch.uint8 and len(pixels) == 3:
            return self.rgb(to_pil_image(pixels)), image.label
        return self.other(pixels), image.label


class ClassificationData(L.LightningDataModule):
    """A training and a test part of labelled images.

    Args:
        root: what `cmid.data.open_split` opens: a folder with ``train`` and ``test`` (or ``val``),
            one folder that is divided, a list, ``scenes``.
        test: the test part, where it does not lie in ``root``; for the original UC Merced split,
            ``root`` and ``test`` are ``train.txt`` and ``test.txt`` with a class behind each path.
        train_share: share of each class to train on, where one folder is divided.
        size: pixels per side.
        batch_size: images per process and step.
        augment: timm's auto-augmentation of 8-bit RGB; empty: none.
        num_workers: processes that read images.
        num_scenes: number of generated scenes, where ``root`` is ``scenes``.
        seed: random seed of the division.
        bands, sensor: read rasters of any bands, see `cmid.data.ImageFolder`.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        test: str | os.PathLike[str] | None = None,
        train_share: float = 0.8,
        size: int = 224,
        batch_size: int = 16,
        augment: str = "rand-m9-mstd0.5-inc1",
        num_workers: int = 4,
        num_scenes: int = 2000,
        seed: int = 0,
        bands: Sequence[int | str] | None = None,
        sensor: str | None = None,
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.num_workers = num_workers
        train, evaluation = open_split(
            root,
            test,
            train_share=train_share,
            seed=seed,
            num_scenes=num_scenes,
            scene_size=size,
            bands=bands,
            sensor=sensor,
        )
        if len(train) < batch_size:
            raise ValueError(
                f"{root} has {len(train)} training images, fewer than one batch of {batch_size}:"
                " lower data.batch_size"
            )
        self.train = ClassificationImages(train, size, augment=augment)
        self.test = ClassificationImages(evaluation, size)
        self.classes = tuple(train.classes)
        self.size = size
        self.num_bands = train.num_bands

    def check_images(self, statistics: ChannelStatistics) -> None:
        """From now on, an image that does not fit the statistics of a backbone is an error."""
        for images in (self.train, self.test):
            source = images.source
            if isinstance(source, CheckedSource):  # fitted before, tested now
                source = source.source
            images.source = CheckedSource(source, statistics)

    def train_dataloader(self) -> DataLoader[Any]:
        return self._loader(self.train, training=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader(self.test, training=False)

    test_dataloader = val_dataloader

    def _loader(self, images: ClassificationImages, *, training: bool) -> DataLoader[Any]:
        return DataLoader(
            images,
            batch_size=self.batch_size if training else 4 * self.batch_size,
            shuffle=training,
            drop_last=training,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )
