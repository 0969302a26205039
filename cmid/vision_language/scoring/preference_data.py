"""Batches of preferences for training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from cmid.data.resumable import ResumableData
from cmid.vision_language.scoring.preferences import PreferenceSource


class PreferenceData(ResumableData):
    """Preferences in batches of `collate_preferences`.

    Args:
        source: what to train on.
        batch_size: images per process and step, each with all its preferences.
        num_workers: processes that read images, see `ImageTextData`; generated scenes are in memory
            and need none.
        on_error: what an unreadable image does: ``error`` or ``skip`` (counted, reported).
        seed: random seed of the order.
    """

    def __init__(
        self,
        source: PreferenceSource,
        *,
        batch_size: int = 64,
        num_workers: int = -1,
        on_error: Literal["error", "skip"] = "error",
        seed: int = 0,
    ) -> None:
        super().__init__(
            source,
            _Whole(),
            batch_size=batch_size,
            num_workers=num_workers,
            on_error=on_error,
            seed=seed,
            collate=collate_preferences,
        )
        self.source = source

    def transfer_batch_to_device(
        self, batch: dict[str, Any], device: torch.device, dataloader_idx: int
    ) -> dict[str, Any]:
        """Move the images; Lightning would take preferences apart, too."""
        images = [None if image is None else image.to(device) for image in batch["images"]]
        return batch | {"images": images}


class _Whole:
    """An image as it is: a flip would make texts about directions wrong."""

    def sample(
        self, source: PreferenceSource, index: int, generator: np.random.Generator
    ) -> dict[str, Any]:
        return {"image": source.read(index), "preferences": source.preferences(index)}


def collate_preferences(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Make a batch of B images.

    Returns:
        ``images``, B tensors ``(3, H, W)`` uint8 or None; ``preferences``, B tuples of
        `Preference`; ``skipped``, one string for each image that was replaced.
    """
    return {
        "images": [sample["image"] for sample in samples],
        "preferences": [sample["preferences"] for sample in samples],
        "skipped": [line for s in samples for line in s.get("skipped", "").splitlines()],
    }
