"""Batches of images and conversations for training and validation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from cmid.data.resumable import ResumableData, ResumableSampler, SampleDataset
from cmid.data.transform import SampleTransform
from cmid.multimodal.boxes import BoxForm
from cmid.multimodal.conversation import Conversation
from cmid.multimodal.data.mixture import Mixture
from cmid.multimodal.data.sampling import LengthSampler
from cmid.multimodal.data.source import ConversationSource
from cmid.multimodal.images import Fit, Frame, fit_image

_LEAST = 0.1  # of a box; what keeps less of itself in the square is not there to be seen


class ConversationView(SampleTransform):
    """What a worker makes of an example: its images as the model's square, uint8 as stored.

    Boxes in texts, which are of the whole image, become those of the square. A conversation one of
    whose boxes keeps less than a tenth of itself there is left out, and counted under ``left_out``.

    Args:
        size: pixels per side. fit: see `cmid.multimodal.images.fit_image`.
    """

    def __init__(self, size: int, fit: Fit) -> None:
        self.size, self.fit = size, fit

    def sample(
        self, source: ConversationSource, index: int, generator: np.random.Generator | None
    ) -> dict[str, Any]:
        example = source.read(index, generator=generator)
        squares = [fit_image(image, self.size, self.fit) for image in example.images]
        empty = torch.zeros(0, source.num_bands, self.size, self.size, dtype=torch.uint8)
        conversations = given = list(example.conversations)
        if self.fit != "squash" and example.images:
            # Boxes are of the last image: several of a place have one size.
            frame = Frame(self.fit, *example.images[-1].shape[1:])
            move = partial(source.boxes.moved, move=frame.to_seen)
            seen = [each for each in given if _left(each, source.boxes, frame) >= _LEAST]
            conversations = [each.rewritten(move) for each in seen]
        return {
            "images": torch.stack(squares) if squares else empty,
            "conversations": conversations,
            "left_out": len(given) - len(conversations),
        }


def _left(conversation: Conversation, form: BoxForm, frame: Frame) -> float:
    """Share that is left in the square of the box that loses most."""
    texts = [text for turn in conversation.turns for text in (turn.question, turn.answer or "")]
    return min(form.left(text, frame.to_seen) for text in texts)


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Lists over samples: ``images`` and ``conversations``; ``skipped`` and ``left_out`` of all."""
    return {
        "images": [sample["images"] for sample in samples],
        "conversations": [sample["conversations"] for sample in samples],
        "left_out": sum(sample["left_out"] for sample in samples),
        "skipped": [line for sample in samples for line in sample["skipped"].splitlines()],
    }


class MultimodalData(ResumableData):
    """Examples of a source, in an order that depends on the seed alone.

    Args:
        source: what to train on.
        size, fit: how images become the tower's square.
        val_source: what to validate on.
        length_groups: batches of this size that are sorted by the lengths of their texts, so that
            little is padded; 0 leaves the order to chance. A source has to know its lengths.
        **loading: of `ResumableData`.
    """

    collate = staticmethod(collate)

    def __init__(
        self,
        source: ConversationSource,
        *,
        size: int = 64,
        fit: Fit = "squash",
        val_source: ConversationSource | None = None,
        length_groups: int = 0,
        **loading: Any,
    ) -> None:
        unknown = _without_lengths(source) if length_groups else []
        if unknown:
            raise ValueError(
                f"data.length_groups {length_groups}: {', '.join(unknown)} does not know the"
                " lengths of its conversations; set 0"
            )
        view = ConversationView(size, fit)
        super().__init__(source, view, **loading)
        self.source, self.val_source = source, val_source
        self.size, self.fit, self._view = size, fit, view
        self.length_groups = length_groups

    def texts(self) -> list[str]:
        """What a tokenizer of a new model learns from."""
        return list(self.source.texts())

    def sampler(self, dataset: SampleDataset, **share: Any) -> ResumableSampler:
        if not self.length_groups:
            return super().sampler(dataset, **share)
        return LengthSampler(
            dataset, batch_size=self.batch_size, batches=self.length_groups, **share
        )

    def transfer_batch_to_device(self, batch: Any, device: torch.device, index: int) -> Any:
        return {**batch, "images": [images.to(device) for images in batch["images"]]}

    def val_dataloader(self) -> DataLoader[dict[str, Any]] | list[DataLoader[dict[str, Any]]]:
        """Every example once, the same at every validation; an empty list without a source."""
        if self.val_source is None:
            return []
        dataset = _Fixed(self.val_source, self._view, seed=self.seed, on_error=self.on_error)
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            num_workers=self._num_workers(),
            collate_fn=self.collate,
        )


def _without_lengths(source: ConversationSource) -> list[str]:
    """Names of the sources, within a mixture too, that do not know their lengths."""
    if isinstance(source, Mixture):
        return [name for each in source.sources for name in _without_lengths(each)]
    return [type(source).__name__] if source.length(0) is None else []


class _Fixed(SampleDataset):
    """Samples by number alone."""

    def __getitem__(self, item: Any) -> dict[str, Any]:
        return super().__getitem__((0, int(item)))
