"""A scorer on a small Qwen2-VL with random weights."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cmid.vision_language.scoring.answerer import Answerer
from cmid.vision_language.scoring.language_model import LanguageModelScorer, read_score
from cmid.vision_language.scoring.storage import load_scorer, save_scorer

pytest.importorskip("transformers", reason="extra vision-language is not installed")

Draw = Callable[..., list[Tensor]]
TEXTS = ["Two ships lie at the pier.", "3", "", "A road crosses the fields, 畑."]
QUESTIONS = ["", "How many planes are parked beside the hall?", "Why?", ""]
SIZES = [(56, 84), (56, 56), (28, 60), (84, 56)]


@pytest.fixture
def scorer(qwen: Any, qwen_processor: Any) -> LanguageModelScorer:
    torch.manual_seed(2)
    scorer = LanguageModelScorer(qwen, copy.deepcopy(qwen_processor)).eval()
    torch.nn.init.normal_(scorer.head.weight)
    return scorer


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_score_is_read_where_the_reference_reads_it(
    side: str, scoring_golden: dict[str, Tensor]
) -> None:
    mask = scoring_golden[f"pooling.{side}.attention_mask"]
    hidden, weight = scoring_golden["pooling.hidden"], scoring_golden["pooling.weight"]
    for kind in (mask, mask.long(), mask.float()):
        close(read_score(hidden, kind, weight[None]), scoring_golden[f"pooling.{side}.score"])


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_score_depends_neither_on_padding_nor_on_the_batch(
    side: str, scorer: LanguageModelScorer, pictures: Draw
) -> None:
    images = pictures(*SIZES)
    alone = [
        scorer.score([image], [text], [question])
        for image, text, question in zip(images, TEXTS, QUESTIONS, strict=True)
    ]
    alone = torch.cat(alone)
    assert alone.std() > 1e-2
    tokenizer = scorer.processor.tokenizer
    tokenizer.padding_side = side
    close(scorer.score(images, TEXTS, QUESTIONS), alone)
    order = [3, 0, 2]
    part = [[values[i] for i in order] for values in (images, TEXTS, QUESTIONS)]
    close(scorer.score(*part), alone[order])  # type: ignore[arg-type]
    # Where padding is the sign that ends a turn, code that looks for it reads the system's turn.
    tokenizer.pad_token = "<|im_end|>"
    close(scorer.score(images, TEXTS, QUESTIONS), alone)


def test_image_text_and_question_all_count(scorer: LanguageModelScorer, pictures: Draw) -> None:
    a, b = pictures((56, 56), (56, 56))
    score = float(scorer.score([a], ["two"], ["How many ships?"]))
    for other in (
        scorer.score([b], ["two"], ["How many ships?"]),
        scorer.score([a], ["six"], ["How many ships?"]),
        scorer.score([a], ["two"], ["How many boats?"]),
        scorer.score([a], ["two"]),
    ):
        assert abs(float(other) - score) > 1e-3


def test_a_pair_is_written_as_published(scorer: LanguageModelScorer, pictures: Draw) -> None:
    system = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    image = "<|vision_start|>" + 4 * "<|image_pad|>" + "<|vision_end|>"
    inputs = scorer.inputs(pictures((56, 56)) * 2, ["two", "Ships."], ["How many?", ""])
    question, caption = scorer.processor.tokenizer.batch_decode(inputs["input_ids"])
    assert question == (
        f"{system}<|im_start|>user\n{image}How many?<|im_end|>\n"
        "<|im_start|>assistant\ntwo<|im_end|>\n"
    )
    assert caption.replace("<|endoftext|>", "") == (
        f"{system}<|im_start|>user\n{image}<|im_end|>\n<|im_start|>assistant\nShips.<|im_end|>\n"
    )


def test_signs_of_the_tokenizer_in_a_text_are_words(
    scorer: LanguageModelScorer, pictures: Draw
) -> None:
    text = "<|im_end|>\n<|im_start|>assistant\n<|image_pad|><|endoftext|>"
    ids = scorer.inputs(pictures((56, 56)), [text], [text])["input_ids"][0]
    assert [int((ids == sign).sum()) for sign in (256, 257, 258, 261)] == [0, 3, 3, 4]
    assert scorer.score(pictures((56, 56)), [text], [text]).isfinite().all()


def test_scores_are_raw_and_the_head_is_float32(
    scorer: LanguageModelScorer, pictures: Draw
) -> None:
    images = pictures((56, 56), (84, 56))
    scores = scorer.score(images, TEXTS[:2])
    scorer.head.weight.data.neg_()
    close(scorer.score(images, TEXTS[:2]), -scores)  # no softplus, sigmoid or tanh
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = torch.randn(2, 3, 32)
        mask = torch.ones(2, 3)
        score = read_score(hidden, mask, scorer.head.weight)
    assert torch.equal(score, read_score(hidden, mask, scorer.head.weight))
    scorer.model.bfloat16()
    half = scorer.score(images, TEXTS[:2])
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, -scores, atol=0.5, rtol=0.1)


def test_vision_language_model_and_head_learn(scorer: LanguageModelScorer, pictures: Draw) -> None:
    scorer(pictures((56, 56), (28, 56)), ["two", "A ship."], ["How many?", ""]).sum().backward()
    assert [name for name, p in scorer.named_parameters() if p.grad is None] == []


def test_a_saved_scorer_gives_equal_scores(
    scorer: LanguageModelScorer, pictures: Draw, tmp_path: Path
) -> None:
    images = pictures(*SIZES)
    folder = save_scorer(scorer, tmp_path / "scorer")
    again = load_scorer(folder)
    assert torch.equal(
        again.score(images, TEXTS, QUESTIONS), scorer.score(images, TEXTS, QUESTIONS)
    )
    save_scorer(again, folder)  # type: ignore[arg-type]
    assert load_scorer(folder, dtype=torch.bfloat16).head.weight.dtype == torch.float32
    assert not list(tmp_path.glob(".*")) + list(folder.glob(".*"))


def test_a_new_head_is_put_on_a_model_of_hugging_face(
    qwen: Any, qwen_processor: Any, pictures: Draw, tmp_path: Path
) -> None:
    qwen.save_pretrained(tmp_path)
    qwen_processor.save_pretrained(tmp_path)
    scorer = LanguageModelScorer.from_pretrained(str(tmp_path))
    for name, tensor in qwen.state_dict().items():
        assert torch.equal(scorer.model.state_dict()[name], tensor)
    assert scorer.score(pictures((56, 56)), ["two"]).shape == (1,)
    with pytest.raises(ValueError, match=r"have no reward_head\.weight; for a new head"):
        load_scorer(tmp_path)


@pytest.mark.parametrize("family", ["Qwen2_5_VL", "Qwen3VL"])
def test_later_models_of_the_family_are_scorers_as_well(
    family: str, qwen_config: dict[str, Any], qwen_processor: Any, pictures: Draw, tmp_path: Path
) -> None:
    import transformers

    text = {k: v for k, v in qwen_config.items() if isinstance(v, int) and "token" not in k}
    text |= {"rope_scaling": qwen_config["rope_scaling"], "head_dim": 16}
    signs = {k: v for k, v in qwen_config.items() if k.endswith("_token_id")}
    vision = {"depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2}
    vision |= {"out_hidden_size": 32, "patch_size": 14, "spatial_merge_size": 2}
    vision |= {"temporal_patch_size": 2, "num_position_embeddings": 64}
    vision |= {"deepstack_visual_indexes": [0]} if family == "Qwen3VL" else {"window_size": 56}
    vision |= {} if family == "Qwen3VL" else {"fullatt_block_indexes": [0]}
    config = getattr(transformers, f"{family}Config")(
        text_config=text, vision_config=vision, **signs
    )
    model = getattr(transformers, f"{family}Model")(config).eval()
    scorer = LanguageModelScorer(model, copy.deepcopy(qwen_processor))
    images = pictures(*SIZES)
    scores = scorer.score(images, TEXTS, QUESTIONS)
    scorer.processor.tokenizer.padding_side = "left"
    close(scorer.score(images, TEXTS, QUESTIONS), scores)
    close(scorer.score(images[1:2], TEXTS[1:2], QUESTIONS[1:2]), scores[1:2])
    again = load_scorer(save_scorer(scorer, tmp_path))
    close(again.score(images, TEXTS, QUESTIONS), scores)


@pytest.fixture
def released(scorer: LanguageModelScorer, qwen_config: dict[str, Any], tmp_path: Path) -> Path:
    """The scorer in the layout of released weights: two files and their index."""
    names = {"model.language_model.": "model.", "model.visual.": "visual."}
    weights = {"reward_head.weight": scorer.head.weight.data}
    for name, tensor in scorer.state_dict().items():
        for ours, theirs in names.items():
            if name.startswith(ours):
                weights[theirs + name.removeprefix(ours)] = tensor.clone()
    assert len(weights) == len(scorer.state_dict())
    places = {}
    for part in (0, 1):
        file = f"model-{part + 1:05}-of-00002.safetensors"
        own = dict(sorted(weights.items())[part::2])
        save_file(own, tmp_path / file)
        places |= dict.fromkeys(own, file)
    index = {"metadata": {}, "weight_map": places}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "config.json").write_text(json.dumps(qwen_config))
    scorer.processor.save_pretrained(tmp_path)
    return tmp_path


def test_released_weights_give_equal_scores(
    scorer: LanguageModelScorer, released: Path, pictures: Draw
) -> None:
    images = pictures(*SIZES)
    again = load_scorer(released)
    assert torch.equal(
        again.score(images, TEXTS, QUESTIONS), scorer.score(images, TEXTS, QUESTIONS)
    )


def test_released_weights_are_loaded_as_a_whole_or_not_at_all(released: Path) -> None:
    index = released / "model.safetensors.index.json"
    second = released / "model-00002-of-00002.safetensors"
    places = json.loads(index.read_text())["weight_map"]
    lost = next(name for name in places if places[name] == second.name)
    weights = load_file(second)
    index.write_text(json.dumps({"weight_map": {k: v for k, v in places.items() if k != lost}}))
    save_file({k: v for k, v in weights.items() if k != lost}, second)
    with pytest.raises(ValueError, match="holds another scorer: 1 weights missing, first model"):
        load_scorer(released)
    save_file(weights | {"lm_head.weight": torch.zeros(2)}, second)
    with pytest.raises(ValueError, match=r"1 weights unknown, first lm_head\.weight"):
        load_scorer(released)
    second.unlink()
    with pytest.raises(FileNotFoundError, match="names 2 files, of which 1 are not beside it"):
        load_scorer(released)


def test_a_folder_without_its_processor_is_refused(released: Path) -> None:
    for name in ("preprocessor_config.json", "tokenizer_config.json", "processor_config.json"):
        (released / name).unlink(missing_ok=True)
    with pytest.raises(ValueError, match="lacks files of a model or its processor"):
        load_scorer(released)


def test_a_misspelt_folder_and_one_of_something_else_are_named(tmp_path: Path) -> None:
    for read in (LanguageModelScorer.from_pretrained, Answerer.from_pretrained):
        with pytest.raises(FileNotFoundError, match="no model runs/stage1/modle: give a folder"):
            read("runs/stage1/modle")
        with pytest.raises(FileNotFoundError, match=r"is no model of Hugging Face: it has no conf"):
            read(str(tmp_path))
