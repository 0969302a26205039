"""A scorer on a CLIP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cmid.vision_language.clip.config import CLIPConfig
from cmid.vision_language.scoring.dual_encoder import DualEncoderScorer
from cmid.vision_language.scoring.storage import load_scorer, save_scorer

open_clip = pytest.importorskip("open_clip", reason="extra vision-language is not installed")

Draw = Callable[..., list[Tensor]]
TEXTS = ["a ship in the harbour", "two planes", "", "a river between fields and a road"]
QUESTIONS = ["What is seen?", "", "How many?", "Where is the river?"]
SIZES = [(40, 60), (32, 32), (100, 90), (20, 32)]


@pytest.fixture(params=[False, True], ids=["pooled", "patches"])
def scorer(tiny_clip: str, request: pytest.FixtureRequest) -> DualEncoderScorer:
    from cmid.vision_language.clip.building import build_clip

    torch.manual_seed(1)
    clip = build_clip(CLIPConfig(tiny_clip))
    scorer = DualEncoderScorer(clip, hidden=16, patches=request.param)
    torch.nn.init.normal_(scorer.head[2].weight)  # as after training
    return scorer


def embeddings(scorer: DualEncoderScorer) -> tuple[Tensor, Tensor, Tensor | None]:
    """Three images and texts, and what the fusion of each pair is where there is one."""
    fused = torch.randn(3, scorer.fusion.width) if scorer.fusion is not None else None
    return torch.randn(3, 32), torch.randn(3, 32), fused


def test_a_score_does_not_depend_on_the_batch(scorer: DualEncoderScorer, pictures: Draw) -> None:
    images = pictures(*SIZES)
    together = scorer.score(images, TEXTS, QUESTIONS)
    assert together.shape == (4,)
    assert together.dtype == torch.float32
    for order in ([0], [1], [2], [3], [2, 0], [3, 1, 2, 0]):
        part = [[values[i] for i in order] for values in (images, TEXTS, QUESTIONS)]
        torch.testing.assert_close(
            scorer.score(*part),
            together[order],
            atol=1e-5,
            rtol=1e-5,  # type: ignore[arg-type]
        )
    assert scorer.training  # put back


def test_image_text_and_question_all_count(scorer: DualEncoderScorer, pictures: Draw) -> None:
    a, b = pictures((32, 32), (32, 32))
    score = float(scorer.score([a], ["a ship"], ["What?"]))
    for other in (
        scorer.score([b], ["a ship"], ["What?"]),
        scorer.score([a], ["a plane"], ["What?"]),
        scorer.score([a], ["a ship"], ["Where?"]),
        scorer.score([a], ["a ship"]),
    ):
        assert abs(float(other) - score) > 1e-3


def test_untrained_it_is_the_score_of_the_clip(tiny_clip: str, pictures: Draw) -> None:
    from cmid.vision_language.clip.building import build_clip

    clip = build_clip(CLIPConfig(tiny_clip)).eval()
    images = pictures((32, 32), (32, 32))
    with torch.no_grad():
        image = clip.encode_images(torch.stack(images)).pooled
        expected = clip.scale * F.cosine_similarity(image, clip.encode_texts(TEXTS[:2]))
    actual = DualEncoderScorer(clip).score(images, TEXTS[:2])
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_the_length_of_embeddings_does_not_count(scorer: DualEncoderScorer) -> None:
    image, text, fused = embeddings(scorer)
    score = scorer.compare(image, text, fused)
    torch.testing.assert_close(scorer.compare(5 * image, 0.1 * text, fused), score)


def test_the_head_is_float32_under_autocast(scorer: DualEncoderScorer) -> None:
    image, text, fused = embeddings(scorer)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        score = scorer.compare(image, text, fused)
    torch.testing.assert_close(score, scorer.compare(image, text, fused), rtol=0, atol=0)
    half = scorer.compare(image.bfloat16(), text.bfloat16(), fused)
    assert score.dtype == half.dtype == torch.float32


def test_every_weight_but_the_unused_ones_learns(scorer: DualEncoderScorer, pictures: Draw) -> None:
    scorer(pictures((32, 32), (32, 32)), ["a ship", "a plane"], ["", ""]).sum().backward()
    without = [name for name, p in scorer.named_parameters() if p.grad is None]
    assert without == ["clip.logit_scale"]  # its value went into cosine_weight


def test_a_saved_scorer_gives_equal_scores(
    scorer: DualEncoderScorer, pictures: Draw, tmp_path: Path
) -> None:
    scorer.fit = "squash"
    scorer.requires_grad_(False)  # torch's attention takes another path with gradients: 4e-7
    images = pictures(*SIZES)
    folder = save_scorer(scorer, tmp_path / "scorer")
    again = load_scorer(folder)
    assert isinstance(again, DualEncoderScorer)
    assert torch.equal(again.score(images, TEXTS), scorer.score(images, TEXTS))
    assert not any(parameter.requires_grad for parameter in again.parameters())
    assert sorted(path.name for path in folder.iterdir()) == [
        *("clip", "config.json", "model.safetensors")
    ]
    open_clip.create_model(f"local-dir:{folder / 'clip'}")


def test_what_cannot_be_scored_or_loaded_is_named(
    scorer: DualEncoderScorer, pictures: Draw, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="1 images, 2 texts and 2 questions"):
        scorer.score(pictures((32, 32)), TEXTS[:2])
    assert scorer.score([], []).shape == (0,)
    with pytest.raises(FileNotFoundError, match=r"is no scorer: it has no config\.json"):
        load_scorer(tmp_path / "absent")
    folder = save_scorer(scorer, tmp_path / "scorer")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(ValueError, match="is damaged"):
        load_scorer(folder)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"it has no model\.safetensors"):
        load_scorer(folder)
    (folder / "config.json").write_text('{"cmid": {"scorer": "oracle"}}')
    with pytest.raises(ValueError, match="a scorer 'oracle', which this version does not know"):
        load_scorer(folder)
    (folder / "config.json").write_text("[")
    with pytest.raises(ValueError, match="is damaged: it is no JSON object"):
        load_scorer(folder)
