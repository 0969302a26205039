"""Visual tokens take their place among the embeddings of text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cmid.multimodal.tokens import IGNORED, IMAGE_ID, Encoded

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
        visible: ``(B, L, L)`` bool, which tokens each token may see, where conversations share a
            prefix; a position is then counted over them.
        segments: ``(B, L)`` numbers of conversations, 0 of what they share, -1 at padding; then.
    """

    embeds: Tensor
    labels: Tensor
    mask: Tensor
    positions: Tensor
    image: Tensor
    visible: Tensor | None = None
    segments: Tensor | None = None

    @property
    def attention_mask(self) -> Tensor:
        """What models of transformers take: `mask`, or ``(B, 1, L, L)`` to add to the scores."""
        if self.visible is None:
            return self.mask
        least = torch.finfo(self.embeds.dtype).min
        return torch.where(self.visible, 0.0, least).to(self.embeds.dtype)[:, None]


def splice(
    ids: Sequence[Tensor],
    labels: Sequence[Tensor],
    visual: Sequence[Tensor],
    embed: Callable[[Tensor], Tensor],
    *,
    side: Side = "right",
    segments: Sequence[Tensor] | None = None,
) -> Spliced:
    """Put visual tokens at the places of images.

    Args:
        ids: ``(L_i,)`` token numbers of each sample without padding, `IMAGE_ID` at images: none,
            one or several.
        labels: ``(L_i,)`` each.
        visual: ``(T_j, D)`` of each image, in the order of places over the batch.
        embed: ``(N,)`` token numbers to ``(N, D)``.
        side: where padding goes.
        segments: ``(L_i,)`` each, see `share_prefix`.

    Raises:
        ValueError: other places than images.
    """
    places = sum(int((each == IMAGE_ID).sum()) for each in ids)
    if places != len(visual):
        raise ValueError(f"{places} places for {len(visual)} images")
    flat = torch.cat(list(ids))
    words = embed(flat[flat != IMAGE_ID])
    lengths = [len(tokens) for tokens in visual]
    rows, owners, targets = _sources(ids, labels, lengths, len(words))
    length = max((len(row) for row in rows), default=0)
    # Everything that may be read, and a zero for padding: one gather serves the batch.
    zero = words.new_zeros(1, words.shape[1])
    known = torch.cat([words, *(tokens.to(words) for tokens in visual), zero])
    index = _padded(rows, length, len(known) - 1, side)
    mask = _padded([torch.ones_like(row) for row in rows], length, 0, side)
    device = words.device
    positions, visible, own = (mask.cumsum(dim=1) - 1).clamp(min=0), None, None
    if segments is not None:
        # An image belongs to the segment that its place is in.
        spread = _sources(ids, segments, lengths, len(words), of_image=None)[2]
        own = _padded(spread, length, -1, side).to(device)
        visible = _visible(own)
        positions = (visible.sum(dim=2) - 1).clamp(min=0)
    return Spliced(
        embeds=known[index.to(device)],
        labels=_padded(targets, length, IGNORED, side).to(device),
        mask=mask.to(device),
        positions=positions.to(device),
        image=_padded(owners, length, -1, side).to(device),
        visible=visible,
        segments=own,
    )


def _sources(
    ids: Sequence[Tensor],
    labels: Sequence[Tensor],
    lengths: Sequence[int],
    words: int,
    *,
    of_image: int | None = IGNORED,
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Of each sample: rows of what may be read, numbers of images, and labels.

    Args:
        of_image: label of visual tokens; None repeats that of their place.
    """
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
                place = int(labelled[cut]) if of_image is None else of_image
                target.append(torch.full((lengths[image],), place))
                image += 1
            before = cut + 1
        rows.append(torch.cat(row))
        owners.append(torch.cat(owner))
        targets.append(torch.cat(target))
    return rows, owners, targets


def share_prefix(conversations: Sequence[Encoded]) -> tuple[Encoded, Tensor] | None:
    """Conversations about the same images as one sample, in which the images come once.

    Each conversation sees the images and itself: for a model it is as if they were apart.

    Returns:
        One sample and ``(L,)`` numbers of its segments: 0 of what all see, then 1, 2, ...; None
        where what comes before the end of the images differs, or is learned.
    """
    first = conversations[0]
    places = (first.ids == IMAGE_ID).nonzero()[:, 0].tolist()
    cut = places[-1] + 1 if places else 0
    for each in conversations:
        same = torch.equal(each.ids[:cut], first.ids[:cut]) and IMAGE_ID not in each.ids[cut:]
        if not same or bool((each.labels[:cut] != IGNORED).any()):
            return None
    ids = torch.cat([first.ids[:cut], *(each.ids[cut:] for each in conversations)])
    labels = torch.cat([first.labels[:cut], *(each.labels[cut:] for each in conversations)])
    counts = torch.tensor([cut, *(len(each.ids) - cut for each in conversations)])
    return Encoded(ids, labels), torch.arange(len(counts)).repeat_interleave(counts)


def _visible(segments: Tensor) -> Tensor:
    """``(B, L)`` segments, -1 at padding, to ``(B, L, L)``: which tokens each may see."""
    own, other = segments[:, :, None], segments[:, None]
    length = segments.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    return ((own == other) | (other == 0)) & causal & (own >= 0) & (other >= 0)


def _padded(rows: Sequence[Tensor], length: int, value: int, side: Side) -> Tensor:
    padded = torch.full((len(rows), length), value)
    for number, row in enumerate(rows):
        start = length - len(row) if side == "left" else 0
        padded[number, start : start + len(row)] = row
    return padded
