"""Batches of preferences for training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from cmid.data.resumable import ResumableData
from cmid.vision_language.scoring.preferences import PreferenceSource


class PreferenceData(ResumableData):
    """Preferences in batches of `collate_preferences`.

    Args:
        source: what to train on.
        batch_size: preferences per process and step, each with all its candidates.
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


class _Whole:
    """A preference as it is: a flip would make texts about directions wrong."""

    def sample(
        self, source: PreferenceSource, index: int, generator: np.random.Generator
    ) -> dict[str, Any]:
        return {"image": source.read(index), "preference": source.preference(index)}


def collate_preferences(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Make a batch of B preferences.

    Returns:
        ``images``, B tensors ``(3, H, W)`` uint8 or None; ``questions``, B strings; ``candidates``
        and ``ranks``, B tuples each; ``skipped``, one string for each image that was replaced.
    """
    preferences = [sample["preference"] for sample in samples]
    return {
        "images": [sample["image"] for sample in samples],
        "questions": [preference.question for preference in preferences],
        "candidates": [preference.candidates for preference in preferences],
        "ranks": [preference.ranks for preference in preferences],
        "skipped": [line for s in samples for line in s.get("skipped", "").splitlines()],
    }
