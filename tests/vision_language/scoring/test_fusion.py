"""Texts that are read beside patches."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cmid.vision_language.scoring.fusion import FusionEncoder

pytest.importorskip("open_clip", reason="extra vision-language is not installed")


def things(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images of two kinds of patches in the corners of a 4 x 4 grid; whether the first is above."""
    dense = torch.zeros(count, 8, 4, 4)
    places = torch.stack([torch.randperm(16, generator=generator)[:2] for _ in range(count)])
    for kind in (0, 1):
        dense.flatten(2)[torch.arange(count), kind, places[:, kind]] = 1
    rows = places // 4
    return dense[rows[:, 0] != rows[:, 1]], (rows[:, 0] < rows[:, 1])[rows[:, 0] != rows[:, 1]]


def test_it_learns_what_lies_above_what() -> None:
    torch.manual_seed(0)
    draws = torch.Generator().manual_seed(0)
    encoder = FusionEncoder(8, 6, width=32, heads=2)
    score = torch.nn.Linear(32, 1)
    words = torch.randn(2, 3, 6, generator=draws)  # "first above second", "first below second"
    parameters = [*encoder.parameters(), *score.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3)

    def lead(dense: Tensor) -> Tensor:
        memory = encoder.remember(dense)
        above, below = (
            score(encoder(memory, text.expand(len(dense), -1, -1), torch.ones(len(dense), 3) > 0))
            for text in words
        )
        return (above - below)[:, 0]

    for _ in range(120):
        dense, above = things(32, draws)
        loss = F.binary_cross_entropy_with_logits(lead(dense), above.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    dense, above = things(512, draws)
    with torch.no_grad():
        assert float(((lead(dense) > 0) == above).float().mean()) > 0.9


def test_padding_is_not_read() -> None:
    torch.manual_seed(0)
    encoder = FusionEncoder(8, 6, width=16, heads=2).eval()
    memory = encoder.remember(torch.randn(1, 8, 3, 5))
    text = torch.randn(1, 4, 6)
    expected = encoder(memory, text, torch.ones(1, 4) > 0)
    padded = torch.cat([text, torch.randn(1, 3, 6)], dim=1)
    mask = torch.arange(7)[None] < 4
    torch.testing.assert_close(encoder(memory, padded, mask), expected, atol=1e-6, rtol=1e-6)
    assert not torch.allclose(encoder(memory, padded, torch.ones(1, 7) > 0), expected)


def test_tokens_of_a_text_do_not_depend_on_the_others(tiny_clip: str) -> None:
    from cmid.vision_language.clip.building import build_clip
    from cmid.vision_language.clip.config import CLIPConfig

    tower = build_clip(CLIPConfig(tiny_clip)).eval().text
    texts = ["a ship", "a river between fields and a road", ""]
    together = tower.read(texts)
    torch.testing.assert_close(together.pooled, tower(texts))
    assert together.tokens.shape[2] == tower.token_width
    for row, text in enumerate(texts):
        alone = tower.read([text])
        assert alone.mask.all()
        assert int(together.mask[row].sum()) == alone.tokens.shape[1]
        torch.testing.assert_close(
            together.tokens[row][together.mask[row]], alone.tokens[0], atol=1e-5, rtol=1e-5
        )
