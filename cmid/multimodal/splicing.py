"""Visual tokens take their place among the embeddings of text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cmid.multimodal.tokens import IGNORED, IMAGE_ID

Side = Literal["left", "right"]


@dataclass(frozen=True)
class Spliced:
    """What a language model reads, padded to one length ``L``.

    Attributes:
        embeds: ``(B, L, D)``, zero at padding.
        labels: ``(B, L)``, -100 at padding, images and what is not learned.
        mask: ``(B, L)`` int64, 0 at padding.
        positions: ``(B, L)`` sums of the mask up to each place, less 1, at least 0.
        image: ``(B, L)`` number of the image in the batch, -1 at text and padding.
    """

    embeds: Tensor
    labels: Tensor
    mask: Tensor
    positions: Tensor
    image: Tensor


def splice(
    ids: Sequence[Tensor],
    labels: Sequence[Tensor],
    visual: Sequence[Tensor],
    embed: Callable[[Tensor], Tensor],
    *,
    side: Side = "right",
) -> Spliced:
    """Put visual tokens at the places of images.

    Args:
        ids: ``(L_i,)`` token numbers of each sample without padding, `IMAGE_ID` at images: none,
            one or several.
        labels: ``(L_i,)`` each.
        visual: ``(T_j, D)`` of each image, in the order of places over the batch.
        embed: ``(N,)`` token numbers to ``(N, D)``.
        side: where padding goes.

    Raises:
        ValueError: other places than images.
    """
    places = sum(int((each == IMAGE_ID).sum()) for each in ids)
    if places != len(visual):
        raise ValueError(f"{places} places for {len(visual)} images")
    flat = torch.cat(list(ids))
    words = embed(flat[flat != IMAGE_ID])
    rows, owners, targets = _sources(ids, labels, [len(tokens) for tokens in visual], len(words))
    length = max((len(row) for row in rows), default=0)
    # Everything that may be read, and a zero for padding: one gather serves the batch.
    zero = words.new_zeros(1, words.shape[1])
    known = torch.cat([words, *(tokens.to(words) for tokens in visual), zero])
    index = _padded(rows, length, len(known) - 1, side)
    mask = _padded([torch.ones_like(row) for row in rows], length, 0, side)
    device = words.device
    return Spliced(
        embeds=known[index.to(device)],
        labels=_padded(targets, length, IGNORED, side).to(device),
        mask=mask.to(device),
        positions=(mask.cumsum(dim=1) - 1).clamp(min=0).to(device),
        image=_padded(owners, length, -1, side).to(device),
    )


def _sources(
    ids: Sequence[Tensor], labels: Sequence[Tensor], lengths: Sequence[int], words: int
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Of each sample: rows of what may be read, numbers of images, and labels."""
    starts = [words + sum(lengths[:number]) for number in range(len(lengths))]
    rows, owners, targets = [], [], []
    word = image = 0
    for tokens, labelled in zip(ids, labels, strict=True):
        row: list[Tensor] = []
        owner: list[Tensor] = []
        target: list[Tensor] = []
        before = 0
        cuts = [*(tokens.cpu() == IMAGE_ID).nonzero()[:, 0].tolist(), len(tokens)]
        for cut in cuts:
            count = cut - before
            row.append(torch.arange(word, word + count))
            owner.append(torch.full((count,), -1))
            target.append(labelled[before:cut].cpu())
            word += count
            if cut < len(tokens):
                row.append(torch.arange(starts[image], starts[image] + lengths[image]))
                owner.append(torch.full((lengths[image],), image))
                target.append(torch.full((lengths[image],), IGNORED))
                image += 1
            before = cut + 1
        rows.append(torch.cat(row))
        owners.append(torch.cat(owner))
        targets.append(torch.cat(target))
    return rows, owners, targets


def _padded(rows: Sequence[Tensor], length: int, value: int, side: Side) -> Tensor:
    padded = torch.full((len(rows), length), value)
    for number, row in enumerate(rows):
        start = length - len(row) if side == "left" else 0
        padded[number, start : start + len(row)] = row
    return padded
