"""The arithmetic of what scoring costs."""

from __future__ import annotations

import pytest

from benchmarks.speed.scoring_cost import clip_operations, language_model_operations


def test_a_clip_costs_what_is_published_of_it() -> None:
    pytest.importorskip("open_clip", reason="extra vision-language is not installed")
    assert clip_operations("ViT-B-32") == pytest.approx(14.78e9, rel=0.01)


def test_a_language_model_costs_two_operations_a_weight_and_token() -> None:
    pytest.importorskip("transformers", reason="extra vision-language is not installed")
    more, less = (
        language_model_operations("Qwen2-VL-7B", side=28, words=words) for words in (1001, 1)
    )
    # 6.53 billion weights beside the words' (arXiv:2409.12191), and the products of attention.
    attention = 4 * 28 * 3584 * (1027**2 - 27**2)
    assert more - less == pytest.approx(2 * 1000 * 6.525e9 + attention, rel=0.005)
