"""Scorers that learn from preferences."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cmid.evaluation.image_text import fit_square
from cmid.optimization import OptimizerConfig
from cmid.vision_language.clip.storage import load_clip
from cmid.vision_language.scoring.config import (
    LowRankConfig,
    PreferenceLossConfig,
    RateConfig,
    ScorerConfig,
)
from cmid.vision_language.scoring.dual_encoder import DualEncoderScorer
from cmid.vision_language.scoring.held_out import pair_accuracy
from cmid.vision_language.scoring.module import ScorerTraining
from cmid.vision_language.scoring.objective import contrast_loss, preference_loss
from cmid.vision_language.scoring.preference_data import PreferenceData
from cmid.vision_language.scoring.preferences import Preference, score_preferences
from cmid.vision_language.scoring.scene_preferences import ScenePreferences
from cmid.vision_language.scoring.starting import merge_adapters
from cmid.vision_language.scoring.storage import load_scorer, save_scorer
from cmid.vision_language.scoring.training import train_scorer

pytest.importorskip("open_clip", reason="extra vision-language is not installed")

Draw = Callable[..., list[Tensor]]
SGD = OptimizerConfig(name="sgd", base_lr=10.0, warmup_epochs=0, min_lr=10.0)


@pytest.fixture(scope="module")
def scenes() -> ScenePreferences:
    return ScenePreferences(24, size=32, seed=2)


@pytest.fixture
def on_clip(tiny_clip: str) -> ScorerConfig:
    return ScorerConfig(clip=tiny_clip, hidden=16, patches=True)


@pytest.fixture
def on_qwen(qwen: Any, qwen_processor: Any, tmp_path: Path) -> ScorerConfig:
    qwen.save_pretrained(tmp_path / "qwen")
    qwen_processor.save_pretrained(tmp_path / "qwen")
    return ScorerConfig(language_model=str(tmp_path / "qwen"))


def fit(module: ScorerTraining, source: Any, *, batch: int, folder: Path, **options: Any) -> None:
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(module, PreferenceData(source, batch_size=batch, num_workers=0))


def changed(module: ScorerTraining, before: dict[str, Tensor]) -> set[str]:
    after = module.state_dict()
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


def test_every_candidate_is_scored_with_its_image_and_question(
    on_clip: ScorerConfig, pictures: Draw
) -> None:
    module = ScorerTraining(on_clip)
    seen: list[tuple[Any, str, str]] = []

    def record(images: list[Any], texts: list[str], questions: list[str]) -> Tensor:
        seen.extend(zip(images, texts, questions, strict=True))
        return torch.arange(float(len(texts)))

    module.scorer.forward = record  # type: ignore[method-assign,assignment]
    first, second = pictures((32, 32), (40, 20))
    asked = (Preference(("a", "b"), "what?"), Preference(("f", "g")))
    other = (Preference(("c", "d", "e"), "where?"),)
    scores = score_preferences(module.scorer, [first, second], [asked, other])
    assert [(texts, asked) for _, texts, asked in seen] == [
        *(("a", "what?"), ("b", "what?"), ("f", ""), ("g", "")),
        *(("c", "where?"), ("d", "where?"), ("e", "where?")),
    ]
    assert [image is first for image, _, _ in seen] == [True] * 4 + [False] * 3
    assert [image is second for image, _, _ in seen] == [False] * 4 + [True] * 3
    found = [[part.tolist() for part in own] for own in scores]
    assert found == [[[0, 1], [2, 3]], [[4, 5, 6]]]


@pytest.mark.parametrize("name", ["ranking", "pairs"])
def test_raw_scores_are_compared_in_float32_and_without_overflow(name: Any) -> None:
    preferences = [(Preference(("a", "b")),)]
    for chosen, rejected, loss in ((-300.0, 200.0, 500.0), (0.0, 1.0, 1.3132617)):
        scores = torch.tensor([chosen, rejected], dtype=torch.bfloat16)
        found, _ = preference_loss(
            lambda *_, scores=scores: scores, [None], preferences, PreferenceLossConfig(name)
        )
        assert found.dtype == torch.float32
        # A softplus before the comparison would give 200.0 and 0.96.
        assert float(found) == pytest.approx(loss, rel=1e-5)


def test_ties_missing_ranks_and_a_margin_count() -> None:
    scores = torch.tensor([1.0, 2.0, 5.0, 40.0])
    preferences = [(Preference(("a", "b", "c", "d"), ranks=(0, 1, 1, None)),)]
    gaps = torch.tensor([1.0, 4.0])  # b and c are ahead of a; d takes no part
    pool = torch.tensor([1.0, 2.0, 5.0])
    for loss, expected in (
        (
            PreferenceLossConfig("pairs", margin=0.5),
            torch.nn.functional.softplus(gaps + 0.5).mean(),
        ),
        (PreferenceLossConfig(), pool.logsumexp(0) - 1 + 2 * pool[1:].logsumexp(0) - 7),
    ):
        found, accuracy = preference_loss(lambda *_: scores, [None], preferences, loss)
        torch.testing.assert_close(found, expected)
        assert float(accuracy) == 0
    with pytest.raises(ValueError, match=r"need model\.loss\.name=pairs"):
        PreferenceLossConfig("ranking", margin=1.0)


def test_images_weigh_the_same_however_many_preferences_they_have() -> None:
    scores = torch.tensor([0.0, 1.0, 5.0, 0.0, 0.0, 0.0])
    one, other = Preference(("a", "b")), Preference(("c", "d"))
    found, _ = preference_loss(lambda *_: scores, [None] * 2, [(one,), (one, other)])
    each = torch.nn.functional.softplus(torch.tensor([1.0, -5.0, 0.0]))
    torch.testing.assert_close(found, each[0] / 2 + each[1:].sum() / 4)


@pytest.mark.parametrize(
    ("trained", "moved"),
    [
        (("head",), {"head", "cosine_weight", "fusion"}),
        (("head", "vision"), {"head", "cosine_weight", "fusion", "clip.image"}),
        (("language",), {"clip.text"}),
    ],
)
def test_what_is_not_trained_stays(
    on_clip: ScorerConfig, trained: Any, moved: set[str], scenes: Any, tmp_path: Path
) -> None:
    module = ScorerTraining(on_clip, trained=trained, optimizer=SGD)
    torch.nn.init.normal_(module.scorer.head[2].weight)  # type: ignore[union-attr,index]
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    fit(module, scenes, batch=8, folder=tmp_path, limit_train_batches=2)
    names = changed(module, before)
    starts = {f"scorer.{part}" for part in moved}
    assert all(any(name.startswith(start) for start in starts) for name in names)
    assert all(any(name.startswith(start) for name in names) for start in starts)
    resting = module.scorer.clip.text if "language" not in trained else module.scorer.clip.image  # type: ignore[union-attr]
    assert not resting.training


def test_parts_have_rates_of_their_own(
    on_clip: ScorerConfig, scenes: ScenePreferences, tmp_path: Path
) -> None:
    module = ScorerTraining(on_clip, rates=RateConfig(vision=0.1, language=0.01), optimizer=SGD)
    fit(module, scenes, batch=8, folder=tmp_path, limit_train_batches=1)
    rates: dict[str, float] = {}
    parameters = dict(module.scorer.named_parameters())
    for group in module.trainer.optimizers[0].param_groups:
        for part, names in module.chosen.items():
            if any(group["params"][0] is parameters[name] for name in names):
                rates[part] = group["initial_lr"]
    lr = 10.0 * 8 / 256
    assert rates == pytest.approx({"head": lr, "vision": lr / 10, "language": lr / 100})


def test_a_fusion_encoder_without_a_rate_keeps_what_it_knows(
    on_clip: ScorerConfig, scenes: ScenePreferences, tmp_path: Path
) -> None:
    module = ScorerTraining(
        on_clip, trained=("head",), rates=RateConfig(fusion=0.0), optimizer=OptimizerConfig("adamw")
    )
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    fit(module, scenes, batch=8, folder=tmp_path, limit_train_batches=2)
    names = changed(module, before)
    assert names == {n for n in before if n.startswith(("scorer.head.", "scorer.cosine_weight"))}


@pytest.mark.parametrize("kind", ["clip", "qwen"])
def test_adapters_alone_learn_and_are_merged_into_the_saved_scorer(
    kind: str, request: pytest.FixtureRequest, scenes: Any, tmp_path: Path
) -> None:
    pytest.importorskip("peft", reason="extra scoring is not installed")
    start = request.getfixturevalue(f"on_{kind}")
    module = ScorerTraining(
        start, trained=("head", "language"), lora=LowRankConfig(rank=2), optimizer=SGD
    )
    trained = {n for n, p in module.named_parameters() if p.requires_grad}
    assert any("lora_A" in name for name in trained)
    assert all(
        "lora_" in name or ".head." in name or "fusion" in name or "cosine" in name
        for name in trained
    )
    torch.nn.init.normal_(next(m for n, m in module.named_parameters() if "head" in n))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    fit(module, scenes, batch=4, folder=tmp_path, limit_train_batches=2)
    assert all(
        "lora_" in name or "head" in name or "fusion" in name or "cosine" in name
        for name in changed(module, before)
    )
    images, texts = [scenes.read(0), scenes.read(12)], ["a harbour", "a forest"]
    expected = module.scorer.score(images, texts)
    merge_adapters(module.scorer)
    loaded = load_scorer(save_scorer(module.scorer, tmp_path / "scorer"))
    torch.testing.assert_close(loaded.score(images, texts), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["clip", "qwen"])
def test_gradients_are_the_same_when_activations_are_recomputed(
    kind: str, request: pytest.FixtureRequest, scenes: ScenePreferences
) -> None:
    start = request.getfixturevalue(f"on_{kind}")
    images = [scenes.read(k) for k in (0, 9)]
    preferences = [scenes.preferences(k) for k in (0, 9)]
    gradients = []
    for recompute in (False, True):
        module = ScorerTraining(start, grad_checkpointing=recompute).train()
        torch.nn.init.ones_(
            next(
                p
                for n, p in module.named_parameters()
                if n.endswith("head.weight") or n.endswith("head.2.weight")
            )
        )
        preference_loss(module.scorer, images, preferences)[0].backward()
        gradients.append([p.grad for p in module.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 20
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed, atol=1e-5, rtol=1e-4)


def test_a_language_model_learns_which_text_is_chosen_with_and_without_image(
    on_qwen: ScorerConfig, tmp_path: Path, pictures: Draw
) -> None:
    from cmid.vision_language.scoring.preference_files import PreferenceFiles

    entries = [{"question": "yes?", "chosen": f"{k} yes", "rejected": f"{k} no"} for k in range(8)]
    (tmp_path / "text.json").write_text(json.dumps(entries))
    source = PreferenceFiles(tmp_path / "text.json")
    module = ScorerTraining(on_qwen, trained=("head",), optimizer=SGD)
    start = pair_accuracy(module.scorer, source)
    fit(module, source, batch=2, folder=tmp_path)
    assert pair_accuracy(module.scorer, source).overall > start.overall or start.overall == 1
    image = pictures((56, 56))[0]
    mixed = module.scorer.score([image, None], ["yes", "yes"], ["yes?", "yes?"])
    alone = module.scorer.score([None], ["yes"], ["yes?"])
    torch.testing.assert_close(mixed[1:], alone, atol=1e-5, rtol=1e-5)
    assert abs(float(mixed[0] - mixed[1])) > 1e-4


def test_accuracy_is_told_by_kind_and_equal_scores_are_wrong(scenes: ScenePreferences) -> None:
    class Constant:
        def score(self, images: Any, texts: Any, questions: Any = None) -> Tensor:
            return torch.zeros(len(texts))

    class Length(Constant):
        def score(self, images: Any, texts: Any, questions: Any = None) -> Tensor:
            return torch.tensor([float(len(text)) for text in texts])

    assert pair_accuracy(Constant(), scenes).overall == 0
    measured = pair_accuracy(Length(), scenes, batch_size=5)
    assert set(measured.kinds) == set(scenes.counts)
    assert (measured.kinds["missing"], measured.kinds["hallucinated"]) == (1, 0)
    every = [each for k in range(len(scenes)) for each in scenes.preferences(k)]
    assert measured.pairs == sum(len([*each.pairs()]) for each in every)


def test_a_scorer_on_a_clip_refuses_texts_alone(on_clip: ScorerConfig) -> None:
    with pytest.raises(ValueError, match="needs an image with every text"):
        ScorerTraining(on_clip).scorer.score([None], ["a ship"])


def test_starts_and_parts_that_make_no_sense_are_named(tiny_clip: str) -> None:
    with pytest.raises(ValueError, match="name one start"):
        ScorerConfig()
    with pytest.raises(ValueError, match="name one start"):
        ScorerConfig(clip=tiny_clip, scorer="x")
    with pytest.raises(ValueError, match="name some of head, vision, language"):
        ScorerTraining(ScorerConfig(clip=tiny_clip), trained=())
    with pytest.raises(ValueError, match="needs a tower to train"):
        ScorerTraining(ScorerConfig(clip=tiny_clip), trained=("head",), lora=LowRankConfig(2))


@pytest.mark.parametrize(
    ("start", "line"),
    [
        ({"scorer": "runs/nope"}, "runs/nope is no scorer: it has no config.json"),
        ({"language_model": "runs/nope"}, "no model runs/nope: give a folder"),
        ({"clip": "runs/nope:openai"}, "no CLIP runs/nope: give a folder"),
    ],
)
def test_a_start_that_is_not_there_is_named_by_the_command_before_data_are_read(
    start: dict[str, str], line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    kind = "cmid.vision_language.scoring.preference_files.PreferenceFiles"
    data = {"source": {"class_path": kind, "init_args": {"path": "nowhere.json"}}}
    config = {"data": data, "model": {"start": start}, "run_dir": "run"}
    Path("start.json").write_text(json.dumps(config))
    with pytest.raises(FileNotFoundError, match=line):
        train_scorer(["--config", "start.json"])
    assert not Path("run").exists()


def test_a_head_that_would_be_rounded_is_refused(
    on_clip: ScorerConfig, scenes: ScenePreferences, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="would also round the head"):
        fit(ScorerTraining(on_clip), scenes, batch=4, folder=tmp_path, precision="bf16-true")


def test_the_largest_image_of_a_language_model_is_bounded_in_the_saved_scorer_too(
    on_qwen: ScorerConfig, tmp_path: Path, pictures: Draw
) -> None:
    bounded = dataclasses.replace(on_qwen, max_pixels=4 * 28 * 28)
    module = ScorerTraining(bounded, trained=("head",))
    loaded = load_scorer(save_scorer(module.scorer, tmp_path / "scorer"))
    image = pictures((112, 112))
    for scorer, patches in (
        (ScorerTraining(on_qwen).scorer, 64),
        (module.scorer, 16),
        (loaded, 16),
    ):
        inputs = scorer.inputs(image, ["a ship"], [""])  # type: ignore[operator]
        assert int(inputs["image_grid_thw"].prod()) == patches


def test_contrast_is_the_loss_of_clip_on_the_caption_that_tells_most(
    tiny_clip: str, pictures: Draw
) -> None:
    scorer = DualEncoderScorer(load_clip(tiny_clip), hidden=16)
    images = pictures((32, 32), (40, 30), (32, 32))
    preferences = [
        (
            Preference(("a quay", "a field")),
            Preference(("no", "a long quay with ships"), ranks=(2, 1)),
        ),
        (Preference(("yes, a long one at least", "no"), question="is there a quay?"),),
        (Preference(("a wood", "a very long field and trees")),),
    ]
    shown, texts, questions = [], [], []
    for image, own in zip(images, preferences, strict=True):
        for preference in own:
            for candidate in preference.candidates:
                shown.append(image)
                texts.append(candidate)
                questions.append(preference.question)
    encoded = scorer.encode(shown, texts, questions)
    told = ["a long quay with ships", "a wood"]
    squares = torch.stack([fit_square(images[k], scorer.clip.size, fit=scorer.fit) for k in (0, 2)])
    with torch.no_grad():
        pooled = scorer.clip.encode_images(squares).pooled
        logits = scorer.cosine_weight * (
            F.normalize(pooled, dim=1) @ F.normalize(scorer.clip.encode_texts(told), dim=1).T
        )
    right = torch.arange(2)
    expected = (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2
    torch.testing.assert_close(contrast_loss(scorer, encoded, preferences), expected)


def test_contrast_is_refused_for_a_language_model(on_qwen: ScorerConfig) -> None:
    with pytest.raises(ValueError, match=r"model\.loss\.contrast is for scorers on a CLIP"):
        ScorerTraining(on_qwen, loss=PreferenceLossConfig(contrast=1.0))
