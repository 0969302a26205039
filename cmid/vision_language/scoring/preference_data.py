"""Batches of preferences for training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from cmid.data.resumable import ResumableData
from cmid.data.transform import SampleTransform
from cmid.vision_language.scoring.preferences import PreferenceSource


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


class PreferenceData(ResumableData):
    """Preferences in batches of `collate_preferences`.

    Args:
        source: what to train on.
        **loading: of `ResumableData`; a step has each image of a batch with all its preferences.
            Generated scenes are in memory and need no workers.
    """

    collate = staticmethod(collate_preferences)

    def __init__(self, source: PreferenceSource, **loading: Any) -> None:
        super().__init__(source, _Whole(), **loading)
        self.source = source

    def transfer_batch_to_device(
        self, batch: dict[str, Any], device: torch.device, dataloader_idx: int
    ) -> dict[str, Any]:
        """Move the images; Lightning would take preferences apart, too."""
        images = [None if image is None else image.to(device) for image in batch["images"]]
        return batch | {"images": images}


class _Whole(SampleTransform):
    """An image as it is: a flip would make texts about directions wrong."""

    def sample(
        self, source: PreferenceSource, index: int, generator: np.random.Generator
    ) -> dict[str, Any]:
        return {"image": source.read(index), "preferences": source.preferences(index)}
