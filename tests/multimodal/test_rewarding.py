"""Several answers of a model, and training by rewards: TRL sees the model that we have."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("transformers", reason="extra multimodal is not installed")

from cmid.multimodal.folder import is_model, load, read_config, save_model
from cmid.multimodal.language import AdapterConfig
from cmid.multimodal.rewarding.policy import Opening, open_processor
from cmid.multimodal.rewarding.sampling import (
    OwnSampler,
    asked_questions,
    open_sampler,
    scene_questions,
)
from cmid.multimodal.tokens import IMAGE_ID, TemplateConfig
from cmid.vision_language.scoring.best_of_n import best_of_n
from cmid.vision_language.scoring.best_of_n_config import BestOfNConfig
from cmid.vision_language.scoring.rewards import overall_reward
from tests.integration.in_process import Outcome, run

Small = Callable[..., Any]
QUESTIONS = ["Is there a ship?", "How many planes are there? Look at the long hall.", "What?"]
ANSWERS = ["yes", "2 planes and a harbour", "no cars"]
KINDS = [("tiny:llama:64x2", None), ("tiny:gpt2:64x2", None), ("tiny:llama:64x2", 4)]
TINY = {
    "data": "scenes",
    "num_scenes": 2,
    "trainer.max_steps": 2,
    "trainer.per_device_train_batch_size": 10,
    "trainer.num_generations": 5,
    "trainer.max_completion_length": 6,
    "trainer.save_steps": 1,
    "trainer.logging_steps": 1,
    "trainer.entropy_coef": 0.1,  # a gradient, although no answer of so small a model is right
    "trainer.learning_rate": 1e-2,
    "trainer.use_cpu": True,
    "trainer.bf16": False,
    "trainer.gradient_checkpointing": False,
    "trainer.report_to": "none",
}


def saved(model: Any, folder: Path) -> Path:
    return save_model(model, folder, provenance={"single_turn": True})


def built(small: Small, kind: tuple[str, int | None]) -> Any:
    name, rank = kind
    adapter = None if rank is None else AdapterConfig(rank=rank, alpha=8, dropout=0)
    model = small(name, language={"adapter": adapter})
    for number, parameter in enumerate(model.language.parameters()):
        if rank is not None and parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2, generator=torch.manual_seed(number))
    return model


def prompts(processor: Any, pictures: list[Tensor]) -> dict[str, Tensor]:
    """Prompts as TRL makes them, padded on the left."""
    from PIL import Image

    images = [Image.fromarray(each.permute(1, 2, 0).numpy()) for each in pictures[:3]]
    chats = [
        [{"role": "user", "content": [{"type": "image", "image": image},
                                      {"type": "text", "text": text}]}]
        for image, text in zip(images, QUESTIONS, strict=True)
    ]  # fmt: skip
    inputs = processor.apply_chat_template(conversation=chats, tokenize=True, return_dict=True)
    again = processor(images=[[image] for image in images], text=[""] * 3)
    torch.testing.assert_close(again["pixel_values"], inputs["pixel_values"])
    length = max(map(len, inputs["input_ids"]))
    ids, mask = (
        torch.tensor([[fill] * (length - len(row)) + row for row in inputs[name]])
        for name, fill in (("input_ids", 0), ("attention_mask", 0))
    )
    return {"input_ids": ids, "attention_mask": mask, "pixel_values": inputs["pixel_values"]}


@pytest.mark.parametrize("kind", KINDS)
def test_a_policy_gives_an_answer_the_probability_that_the_model_gives_it(
    kind: tuple[str, int | None], small: Small, pictures: list[Tensor], tmp_path: Path
) -> None:
    utilities = pytest.importorskip("trl.trainer.utils")
    model = built(small, kind)
    folder = saved(model, tmp_path / "model")
    policy, processor = Opening().from_pretrained(str(folder)), open_processor(str(folder))
    inputs = prompts(processor, pictures)

    batch = model.batch([[pair] for pair in zip(QUESTIONS, ANSWERS, strict=True)], pictures[:3])
    expected = []
    with torch.no_grad():
        output = model(batch)
    for row, labels in zip(output.logits, output.spliced.labels, strict=True):
        learned = labels >= 0
        chosen = row.log_softmax(dim=-1)[:-1][learned[1:]]
        expected.append(chosen.gather(1, labels[learned][:, None])[:, 0])

    answers = [labels[labels >= 0] for labels in batch.labels]
    length = max(map(len, answers))
    said = torch.zeros(3, length, dtype=torch.long)
    mask = torch.zeros_like(said)
    for row, answer in enumerate(answers):
        said[row, : len(answer)], mask[row, : len(answer)] = answer, 1
    ids = torch.cat([inputs["input_ids"], said], dim=1)
    whole = torch.cat([inputs["attention_mask"], mask], dim=1)
    assert ((ids == IMAGE_ID).sum(dim=1) == model.perceiver.num_tokens).all()
    labels = ids.masked_fill(whole == 0, -100)
    labels[:, :-length] = -100
    images = inputs["pixel_values"]
    logits = policy(input_ids=ids, attention_mask=whole, pixel_values=images).logits
    plain = logits[:, :-1].log_softmax(dim=-1)
    plain = plain.gather(2, ids[:, 1:, None].clamp(min=0))[:, -length:, 0]
    # As TRL computes them.
    utilities.disable_dropout_in_model(policy.train())
    utilities.add_fused_lm_head(policy)
    fused = policy(
        input_ids=ids, attention_mask=whole, pixel_values=images, labels=labels, fused_lm_head=True
    ).log_probs[:, -length:]
    for row, answer in enumerate(answers):
        for found in (plain, fused):
            torch.testing.assert_close(
                found[row, : len(answer)], expected[row], atol=1e-5, rtol=1e-5
            )


@pytest.mark.parametrize("kind", KINDS)
def test_a_policy_draws_what_the_model_draws(
    kind: tuple[str, int | None], small: Small, pictures: list[Tensor], tmp_path: Path
) -> None:
    from transformers import GenerationConfig

    model = built(small, kind)
    folder = saved(model, tmp_path / "model")
    policy, processor = Opening().from_pretrained(str(folder)), open_processor(str(folder))
    inputs = prompts(processor, pictures)
    ends = {"eos_token_id": model.encoder.ends, "pad_token_id": processor.tokenizer.pad_token_id}

    def written(inputs: dict[str, Tensor], **options: Any) -> list[str]:
        settings = GenerationConfig(max_new_tokens=10, **ends, **options)
        whole = policy.train().generate(**inputs, generation_config=settings)
        assert policy.training
        new = whole[:, inputs["input_ids"].shape[1] :]
        return [t.strip() for t in processor.batch_decode(new, skip_special_tokens=True)]

    likeliest = written(inputs, do_sample=False)
    assert likeliest == model.generate(QUESTIONS, pictures[:3], max_tokens=10)
    assert len(set(likeliest)) > 1
    drawn = model.sample(
        QUESTIONS, pictures[:3], count=4, max_tokens=10, temperature=0.8, top_p=0.9, seed=5
    )
    torch.manual_seed(5)
    repeated = {name: tensor.repeat_interleave(4, dim=0) for name, tensor in inputs.items()}
    found = written(repeated, do_sample=True, temperature=0.8, top_p=0.9, top_k=0)
    assert found == [answer for answers in drawn for answer in answers]


def test_several_answers_read_their_image_once(small: Small, pictures: list[Tensor]) -> None:
    model, seen = small(), []
    model.tower.register_forward_hook(lambda tower, images, levels: seen.append(len(images[0])))
    sampler = OwnSampler(model)
    given = {"count": 4, "max_new_tokens": 8}
    answers = sampler.sample(pictures[:3], QUESTIONS, **given, seed=1)
    assert seen == [3]
    assert [len(each) for each in answers] == [4, 4, 4]
    assert len({answer for each in answers for answer in each}) > 3
    assert answers == sampler.sample(pictures[:3], QUESTIONS, **given, seed=1)
    assert answers != sampler.sample(pictures[:3], QUESTIONS, **given, seed=2)
    likeliest = model.generate(QUESTIONS, pictures[:3], max_tokens=8)
    same = sampler.sample(pictures[:3], QUESTIONS, **given, temperature=0)
    assert same == [[answer] * 4 for answer in likeliest]
    told = OwnSampler(model, system="Answer in one word.").sample(
        pictures[:3], QUESTIONS, **given, temperature=0
    )
    assert told != same


def test_the_true_answers_to_questions_about_scenes_earn_all() -> None:
    questions = [*scene_questions(6, size=32, seed=1)]
    assert {q.kind for q in questions} == {"exact", "iou", "open"}
    assert len({q.name for q in questions}) == len(questions)
    for question in questions:
        if question.kind != "open":
            said = f"<think></think><answer>{question.answer}</answer>"
            truth = {"answer": [question.answer], "kind": [question.kind]}
            assert overall_reward([""], [said], **truth) == [1]


def test_best_of_n_asks_a_model_of_ours_what_it_was_taught(small: Small, tmp_path: Path) -> None:
    folder = saved(small(), tmp_path / "model")
    config = BestOfNConfig(
        "scenes", model=str(folder), out=tmp_path / "out", num_scenes=1, n=3, max_new_tokens=6
    )
    questions = asked_questions(config)
    assert questions[0].text == "[CLS] What kind of place is this?"
    assert questions[0].pixels().shape == (3, 32, 32)
    rows = best_of_n(config, questions=questions, open_sampler=open_sampler)
    assert [row["question"] for row in rows] == [question.text for question in questions]
    assert all(len(row["samples"]) == 3 for row in rows)
    command = ["scenes", "--model", str(folder), "--out", str(tmp_path / "again"), "--n", "3"]
    outcome = run("tools/best_of_n.py", *command, "--num_scenes", "1", "--max_new_tokens", "6")
    assert outcome.status == 0, outcome.err[-3000:]
    assert "| accuracy, %, at N | majority" in outcome.out


def test_a_model_whose_answers_end_by_letters_is_refused(small: Small, tmp_path: Path) -> None:
    model = small(template=TemplateConfig("plain", end_captions=False))
    folder = saved(model, tmp_path / "model")
    with pytest.raises(ValueError, match="ends answers by letters, not by a token"):
        open_processor(str(folder))


def trained(folder: Path, run_dir: Path, *more: str) -> Outcome:
    given = TINY | {"model": folder, "run_dir": run_dir}
    config = ["--config", "configs/scoring/grpo_multimodal_scenes.yaml"]
    return run("tools/train_grpo.py", *config, *(f"--{k}={v}" for k, v in given.items()), *more)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [KINDS[0], KINDS[2]])
def test_the_command_trains_the_language_model_goes_on_and_ends_with_a_folder(
    kind: tuple[str, int | None], small: Small, pictures: list[Tensor], tmp_path: Path
) -> None:
    pytest.importorskip("trl")
    folder = saved(built(small, kind), tmp_path / "model")
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    elsewhere, options = None, []
    if kind[1] is not None:
        # What an adapter belongs to need not lie where it lay.
        elsewhere = str((folder / "language").rename(tmp_path / "elsewhere"))
        options = [f"--trainer.model_init_kwargs={{language_model: {elsewhere}}}"]
    outcome = trained(folder, whole, *options)
    assert outcome.status == 0, outcome.err[-3000:]
    assert "mean reward: " in outcome.out

    # As if killed after the first step.
    shutil.copytree(whole, halves)
    shutil.rmtree(halves / "model")
    shutil.rmtree(halves / "checkpoint-2")
    outcome = trained(folder, halves, "--ckpt_path=last", *options)
    assert outcome.status == 0, outcome.err[-3000:]

    start = load(folder, elsewhere)
    first, second = load(whole / "model"), load(halves / "model")
    assert is_model(whole / "model")
    assert read_config(whole / "model")["provenance"] == {"single_turn": True}
    before, after, resumed = (model.state_dict() for model in (start, first, second))
    learned = {name for name in before if not torch.equal(before[name], after[name])}
    assert learned
    assert all(name.startswith("language.") for name in learned)
    assert all((".lora_" in name) == (kind[1] is not None) for name in learned)
    assert all(torch.equal(after[name], resumed[name]) for name in after)
    assert len(first.generate(QUESTIONS, pictures[:3], max_tokens=6)) == 3


@pytest.mark.slow
def test_what_cannot_be_trained_is_named(small: Small, tmp_path: Path) -> None:
    pytest.importorskip("trl")
    folder = saved(small(), tmp_path / "model")
    for option, message in (
        ("trained=[head]", "name ['head']"),
        ("trained=[adapter]", "the model has none"),
        ("trainer.fsdp=full_shard", "fsdp splits weights"),
    ):
        outcome = trained(folder, tmp_path / "run", f"--{option}")
        assert outcome.status == 1, outcome.err[-2000:]
        assert message in outcome.err.splitlines()[-1]
        assert "Traceback" not in outcome.err
