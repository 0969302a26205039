"""Batches of images, texts and regions for training and validation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, DistributedSampler

from cmid.data.resumable import ResumableData, SampleDataset
from cmid.vision_language.data.selection import through
from cmid.vision_language.data.source import ImageTextSource
from cmid.vision_language.data.view import ImageTextView


def collate_samples(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Make a batch of samples of `ImageTextView`.

    Returns:
        ``images`` ``(B, 3, S, S)`` uint8 and ``texts``, B strings; ``regions`` ``(K, 5)`` float32:
        index of the image in the batch, then x0, y0, x1, y1 as fractions of the view;
        ``region_images`` ``(K, 3, S, S)`` uint8, ``region_texts`` and ``region_keys``, K strings;
        ``skipped``, one string for each image that was replaced; ``left_out``, counts of regions
        by reason. K may be 0.
    """
    counts = torch.tensor([len(sample["boxes"]) for sample in samples])
    index = torch.arange(len(samples)).repeat_interleave(counts)
    boxes = torch.cat([sample["boxes"] for sample in samples])
    return {
        "images": torch.stack([sample["image"] for sample in samples]),
        "texts": [sample["text"] for sample in samples],
        "regions": torch.cat([index[:, None].float(), boxes], dim=1),
        "region_images": torch.cat([sample["region_images"] for sample in samples]),
        "region_texts": [text for sample in samples for text in sample["region_texts"]],
        "region_keys": [key for sample in samples for key in sample["region_keys"]],
        "skipped": [line for sample in samples for line in sample["skipped"].splitlines()],
        "left_out": dict(sum((sample["left_out"] for sample in samples), Counter())),
    }


class ImageTextData(ResumableData):
    """Image-text pairs, with regions if the view makes some; batches of `collate_samples`.

    Args:
        source: what to train on.
        view: what a worker makes of an image.
        selection: file of tools/filter_pairs.py: train on what it keeps of ``source`` only.
        val_source: what to validate on.
        val_view: view in validation; by default the centred form of ``view``.
        **loading: of `ResumableData`.
    """

    collate = staticmethod(collate_samples)

    def __init__(
        self,
        source: ImageTextSource,
        view: ImageTextView,
        *,
        selection: str | None = None,
        val_source: ImageTextSource | None = None,
        val_view: ImageTextView | None = None,
        **loading: Any,
    ) -> None:
        if selection is not None:
            source = through(source, selection)
        super().__init__(source, view, **loading)
        self.source = source
        self.view = view
        self.val_source = val_source
        self.val_view = val_view or view.centred()
        if self.val_view.size != view.size:
            raise ValueError(
                f"data.val_view.size {self.val_view.size} differs from data.view.size {view.size}"
            )

    def val_dataloader(self) -> DataLoader[dict[str, Any]] | list[DataLoader[dict[str, Any]]]:
        """Every image once, the same view at every validation; an empty list without a source.

        Under several processes the last ones may see an image again, as `DistributedSampler` does.
        """
        if self.val_source is None:
            return []
        dataset = SampleDataset(
            self.val_source, self.val_view, seed=self.seed, on_error=self.on_error
        )
        sampler = _OneOrder(
            dataset,
            num_replicas=self.trainer.world_size if self.trainer else 1,
            rank=self.trainer.global_rank if self.trainer else 0,
            shuffle=False,
        )
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self._num_workers(),
            collate_fn=collate_samples,
            pin_memory=torch.cuda.is_available(),
        )


class _OneOrder(DistributedSampler[tuple[int, int]]):
    """All images in their order, drawn as in epoch 0 whatever epoch it is."""

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for index in super().__iter__():
            yield 0, index  # type: ignore[misc]
