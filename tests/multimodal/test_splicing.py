"""Visual tokens among text, against hand-made cases and by their properties."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cmid.multimodal.splicing import splice
from cmid.multimodal.tokens import IGNORED, IMAGE_ID

CASES = ["none", "one", "middle", "batch", "two", "mixed", "last"]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("case", CASES)
def test_images_take_their_places(case: str, side: Any, lhrs: dict[str, Tensor]) -> None:
    start = f"splice.{case}.{side}."
    mask = lhrs[f"{start}input_mask"].bool()
    ids, labels = (
        [row[real] for row, real in zip(lhrs[f"{start}input_{name}"], mask, strict=True)]
        for name in ("ids", "labels")
    )
    visual = list(lhrs.get(f"splice.{case}.visual", torch.zeros(0, 12, 6)))
    spliced = splice(ids, labels, visual, lambda t: lhrs["splice.embedding"][t], side=side)
    assert torch.equal(spliced.embeds, lhrs[f"{start}embeds"])
    assert torch.equal(spliced.labels, lhrs[f"{start}labels"])
    assert torch.equal(spliced.mask, lhrs[f"{start}attention_mask"])
    assert torch.equal(spliced.positions, lhrs[f"{start}position_ids"])
    assert torch.equal(spliced.image, lhrs[f"{start}image_of_position"])


# A sample is what stands in it: a token (and whether it is learned), or an image of some tokens.
parts = st.one_of(st.tuples(st.integers(0, 9), st.booleans()), st.integers(1, 4))


@settings(max_examples=60, deadline=None)
@given(
    samples=st.lists(st.lists(parts, min_size=1, max_size=8), min_size=1, max_size=4),
    side=st.sampled_from(["left", "right"]),
)
def test_nothing_is_lost_moved_or_learned_by_mistake(samples: list[list[Any]], side: Any) -> None:
    ids, labels, visual, wanted = [], [], [], []
    for sample in samples:
        places = [p if isinstance(p, int) else None for p in sample]
        ids.append(
            torch.tensor([IMAGE_ID if p else s[0] for p, s in zip(places, sample, strict=True)])
        )
        learned = [s[0] if not p and s[1] else IGNORED for p, s in zip(places, sample, strict=True)]
        labels.append(torch.tensor(learned))
        row = []
        for p, s, label in zip(places, sample, learned, strict=True):
            if p:
                tokens = torch.randn(p, 3)
                visual.append(tokens)
                row += [(token, IGNORED) for token in tokens]
            else:
                row.append((torch.full((3,), float(s[0])), label))
        wanted.append(row)
    spliced = splice(ids, labels, visual, lambda t: t[:, None].float().expand(-1, 3), side=side)
    assert spliced.mask.sum() == sum(map(len, wanted))
    for number, row in enumerate(wanted):
        real = spliced.mask[number].bool()
        assert torch.equal(spliced.embeds[number, real], torch.stack([e for e, _ in row]))
        assert spliced.labels[number, real].tolist() == [label for _, label in row]
        assert spliced.positions[number, real].tolist() == list(range(len(row)))
        assert not spliced.embeds[number, ~real].any()
        assert (spliced.labels[number, ~real] == IGNORED).all()
        edge = real[-1] if side == "left" else real[0]
        assert edge


def test_more_or_fewer_images_than_places_are_refused() -> None:
    ids = [torch.tensor([1, IMAGE_ID])]
    for count in (0, 2):
        with pytest.raises(ValueError, match=f"1 places for {count} images"):
            splice(ids, ids, [torch.zeros(2, 3)] * count, lambda t: torch.zeros(len(t), 3))
