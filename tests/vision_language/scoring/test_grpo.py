"""Training by rewards: advantages, what reaches TRL, two steps of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cmid.vision_language.scoring import grpo_training
from cmid.vision_language.scoring.grpo import (
    group_advantages,
    make_dataset,
    reward_function,
    trainer_class,
    trainer_settings,
)
from cmid.vision_language.scoring.questions import Question
from tests.integration.in_process import Outcome, run

TINY = {
    "num_scenes": 3,
    "trainer.max_steps": 2,
    "trainer.per_device_train_batch_size": 10,
    "trainer.max_completion_length": 8,
    "trainer.save_steps": 1,
    "trainer.entropy_coef": 0.1,  # a gradient, although no answer of so small a model is right
    "trainer.learning_rate": 1e-2,
    "scene_answerer.size": 32,
}


def said(answer: str) -> str:
    return f"<think>x</think><answer>{answer}</answer>"


def test_advantages_are_the_reference_values(scoring_golden: dict[str, Tensor]) -> None:
    advantages = group_advantages(scoring_golden["grpo.rewards"])
    torch.testing.assert_close(advantages, scoring_golden["grpo.advantages"], rtol=1e-5, atol=1e-5)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 100), min_size=5, max_size=5), min_size=1, max_size=4))
def test_advantages_are_centred_and_depend_on_their_group_only(percent: list[list[int]]) -> None:
    rewards = torch.tensor(percent) / 100
    advantages = group_advantages(rewards)
    torch.testing.assert_close(advantages.sum(dim=1), torch.zeros(len(rewards)), rtol=0, atol=1e-3)
    torch.testing.assert_close(group_advantages(rewards[:1]), advantages[:1])
    torch.testing.assert_close(group_advantages(rewards + 1), advantages, rtol=0, atol=1e-3)


def test_a_group_of_equal_rewards_has_no_advantage() -> None:
    equal = torch.arange(0, 1, 0.01)[:, None].expand(-1, 5)
    assert group_advantages(equal).abs().max() < 1e-6


def trained(folder: Path, run_dir: Path, *more: str, **options: Any) -> Outcome:
    given = TINY | {"model": folder, "run_dir": run_dir} | options
    return run("tools/train_grpo.py", *(f"--{k}={v}" for k, v in given.items()), *more)


@pytest.mark.slow
def test_the_command_trains_goes_on_and_ends_with_a_model(
    answerer_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("trl")
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    outcome = trained(answerer_folder, whole)
    assert outcome.status == 0, outcome.err[-3000:]
    assert "mean reward: " in outcome.out
    assert (whole / "rewards.png").is_file()
    lines = (whole / "rewards.csv").read_text().splitlines()
    assert lines[0].startswith("step,reward,deviation,kl,format")
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2"]

    again = trained(answerer_folder, whole)
    assert again.status == 1
    assert "go on with --ckpt_path last" in again.err

    # As if killed after the first step, while the second checkpoint was written.
    shutil.copytree(whole, halves)
    shutil.rmtree(halves / "model")
    (halves / "checkpoint-2/trainer_state.json").unlink()
    outcome = trained(answerer_folder, halves, "--ckpt_path=last")
    assert outcome.status == 0, outcome.err[-3000:]
    from safetensors.torch import load_file

    first, second = (load_file(d / "model/model.safetensors") for d in (whole, halves))
    start = load_file(answerer_folder / "model.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], start[name]) for name in first)


@pytest.mark.slow
def test_trl_trains_with_these_advantages_and_without_vision_tokens(
    answerer_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("trl")
    from transformers import AutoConfig

    from cmid.vision_language.scoring.language_model import read_processor

    config = AutoConfig.from_pretrained(answerer_folder)
    given = {"per_device_train_batch_size": 10, "num_generations": 5, "max_completion_length": 6}
    given |= {"use_cpu": True, "bf16": False, "report_to": "none", "gradient_checkpointing": False}
    arguments = trainer_settings(given, output_dir=str(tmp_path), seed=0, model_config=config)
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    questions = [Question(str(k), image, "What?", "forest") for k in range(4)]
    rewards: list[list[float]] = []

    def reward(prompts: Any, completions: Any, **columns: Any) -> list[float]:
        rewards.append([0.1 * (k % 5) ** 2 for k in range(len(completions))])
        ids = torch.tensor([token for row in columns["completion_ids"] for token in row])
        vision = [config.image_token_id, config.video_token_id, config.vision_start_token_id]
        assert not torch.isin(ids, torch.tensor(vision)).any()
        return rewards[-1]

    trainer = trainer_class()(
        str(answerer_folder),
        reward_funcs=[reward],
        args=arguments,
        train_dataset=make_dataset(questions),
        processing_class=read_processor(str(answerer_folder), padding_side="left"),
    )
    batch = next(iter(trainer.get_train_dataloader()))
    output = trainer._generate_and_score_completions(batch)
    expected = group_advantages(torch.tensor(rewards[0]).view(-1, 5)).view(-1)
    torch.testing.assert_close(output["advantages"].cpu(), expected, rtol=1e-5, atol=1e-5)


def test_open_answers_are_rewarded_by_their_lead_over_the_reference() -> None:
    from PIL import Image

    class LengthScorer:
        def score(self, images: Any, texts: Any, questions: Any = None) -> Tensor:
            assert all(image.shape == (3, 4, 6) for image in images)
            assert [*questions] == ["Describe", "Describe"]
            return torch.tensor([float(len(text)) for text in texts])

    logged: dict[str, float] = {}
    columns = {
        "answer": ["a lake", "lake"],
        "kind": ["open", "exact"],
        "image": [Image.new("RGB", (6, 4))] * 2,
        "log_metric": logged.__setitem__,
    }
    prompts = [[{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": t}]}]
               for t in ("Describe", "What?")]  # fmt: skip
    texts = [[{"role": "assistant", "content": text}] for text in (said("a blue lake"), "lake")]
    rewards = reward_function(LengthScorer())(prompts, texts, **columns)
    assert rewards == [pytest.approx(0.3 + 0.7 * (1 - 2.718281828 ** (-0.2 * 5))), 0]
    assert logged == {"format": 0.5}


def test_plain_answers_earn_what_thought_ones_do() -> None:
    columns = {"answer": ["a lake", "lake", "2", "[1,1,5,5]"], "kind": [*["exact"] * 3, "iou"]}
    texts = [" A lake.", "", "<answer>2</answer>", "[1,1,5,5]"]
    messages = [[{"role": "assistant", "content": text}] for text in texts]
    reward = reward_function(form="plain")
    assert reward([""] * 4, messages, **columns) == [1, pytest.approx(0.3), 0, 1]
    assert reward_function()([""] * 4, messages, **columns) == [0] * 4


def test_an_empty_system_is_no_turn() -> None:
    pytest.importorskip("datasets")
    question = Question("q", torch.zeros(3, 4, 4, dtype=torch.uint8), "What?", "lake")
    assert [turn["role"] for turn in make_dataset([question])[0]["prompt"]] == ["system", "user"]
    assert [turn["role"] for turn in make_dataset([question], system="")[0]["prompt"]] == ["user"]


def test_a_wrong_option_is_one_line_that_names_the_nearest(tmp_path: Path) -> None:
    outcome = trained(tmp_path, tmp_path / "run", num_scene=1)
    assert outcome.status == 2
    assert outcome.err.splitlines()[-1].endswith("Did you mean: num_scenes?")
    assert "usage" not in outcome.err


def test_settings_that_trl_does_not_have_are_named(answerer_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("trl")
    for options, message in (
        (
            {"trainer.learning_rat": 1},
            "GRPOConfig: did you mean learning_rate?",
        ),
        ({"trainer.scale_rewards": "none"}, "trainer.scale_rewards is set by the command"),
        ({"trainer.num_generations": 7}, "TRL refuses what trainer sets ("),
        ({"data": "no.json"}, "no.json"),
        # Before the model of scenes is taught, which takes minutes.
        ({"data": "no.json", "model": "scenes"}, "no.json"),
        ({"scorer": "no/scorer", "model": "scenes"}, "no/scorer is no scorer"),
        ({"model": "no/such/model"}, "no model no/such/model: give a folder"),
        ({"trained": "[adapter]"}, "names parts of a multimodal model of this project"),
        ({"ckpt_path": "last"}, "has no checkpoint to go on with"),
    ):
        outcome = trained(answerer_folder, tmp_path / "run", **options)
        assert outcome.status == 1, outcome.err[-2000:]
        assert message in outcome.err.splitlines()[-1]
        assert "Traceback" not in outcome.err


def test_an_interrupted_run_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(grpo_training, "_train", interrupted)
    with pytest.raises(KeyboardInterrupt, match="before the first checkpoint: start again"):
        grpo_training.train_grpo(["--run_dir", str(tmp_path)])
    for name in ("checkpoint-2", "checkpoint-10"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "trainer_state.json").touch()
    (tmp_path / "checkpoint-20").mkdir()  # half written
    with pytest.raises(KeyboardInterrupt, match=r"from .*checkpoint-10 with .* --ckpt_path last"):
        grpo_training.train_grpo(["--run_dir", str(tmp_path), "--ckpt_path", "last"])


def test_another_learning_rate_than_the_checkpoint_s_is_refused(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([weight], lr=1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    torch.save(schedule.state_dict(), tmp_path / "scheduler.pt")
    grpo_training.check_rate(tmp_path, 1e-4)
    with pytest.raises(ValueError, match=r"learning_rate is 0\.001, .* 0\.0001: give this one"):
        grpo_training.check_rate(tmp_path, 1e-3)
