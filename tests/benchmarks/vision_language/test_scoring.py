"""The measurement of scorers on generated scenes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.vision_language.scoring import OtherImages, ScoringConfig, judge, main
from cmid.vision_language.scoring.scene_preferences import ScenePreferences

CONFIG = ScoringConfig(clip="", keep=0.3)


class Knowing:
    """Scores 1 for what is true of an image, else 0."""

    def __init__(self, source: ScenePreferences) -> None:
        self.true = {
            (source.read(k).sum().item(), p.candidates[0])
            for k in range(len(source))
            for p in source.preferences(k)
        }

    def score(self, images: Any, texts: Any, questions: Any = None) -> Tensor:
        pairs = zip(images, texts, strict=True)
        return torch.tensor([float((i.sum().item(), t) in self.true) for i, t in pairs])


def test_a_scorer_that_knows_everything_has_perfect_numbers_but_on_other_images() -> None:
    scenes = ScenePreferences(60, seed=9, kinds=("mismatch", "object", "count"))
    found = judge(Knowing(scenes), scenes, scenes, CONFIG)
    perfect = ("pairs", "precision", "AUC", "mismatch precision", "object", "count", "mismatch")
    assert [found[name] for name in perfect] == [1.0] * 7
    assert found["shuffled"] < 0.1
    other = OtherImages(scenes)
    assert other.preferences(3) == scenes.preferences(3)
    assert not any(torch.equal(other.read(k), scenes.read(k)) for k in range(len(scenes)))  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_command_measures_the_clip_heads_and_folders(tiny_clip_64: str, tmp_path: Path) -> None:
    pytest.importorskip("open_clip", reason="extra vision-language is not installed")
    from cmid.vision_language.clip.storage import load_clip
    from cmid.vision_language.scoring.dual_encoder import DualEncoderScorer
    from cmid.vision_language.scoring.storage import save_scorer

    scorer = DualEncoderScorer(load_clip(tiny_clip_64), hidden=8, patches=True)
    folder, out = save_scorer(scorer, tmp_path / "scorer"), tmp_path / "rows.json"
    small = ["--train", "24", "--test", "24", "--captions", "24", "--steps", "2", "--seeds", "0"]
    models = ["--clip", tiny_clip_64, "--scorers", str(folder), "--patches"]
    main([*models, *small, "--out", str(out)])
    rows = json.loads(out.read_text())["rows"]
    names = ["CLIP score", "text alone, seed 0", "frozen towers, seed 0", str(folder)]
    assert [row["scorer"] for row in rows] == names
    text = rows[1]
    assert text["pairs"] == text["shuffled"]  # it sees no image
