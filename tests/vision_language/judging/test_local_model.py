"""Candidates and judgements by a small model of Hugging Face on this machine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from cmid.vision_language.judging.config import AskingConfig, CandidatesConfig
from cmid.vision_language.judging.making import make_preferences
from cmid.vision_language.judging.report import left_out
from cmid.vision_language.scoring.answerer import Answerer

transformers = pytest.importorskip("transformers", reason="extra scoring is not installed")


@pytest.fixture(scope="session")
def captioner(
    qwen_config: dict[str, Any], qwen_processor: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with a small Qwen2-VL of random weights that writes."""
    folder = tmp_path_factory.mktemp("captioner")
    torch.manual_seed(5)
    model = transformers.Qwen2VLForConditionalGeneration(transformers.Qwen2VLConfig(**qwen_config))
    for parameter in model.parameters():
        parameter.data.mul_(4.0 if parameter.ndim > 1 else 1.0)
    model.save_pretrained(folder)
    qwen_processor.save_pretrained(folder)
    return folder


def test_a_local_model_describes_images_the_same_in_any_batch(
    captioner: Path, tmp_path: Path
) -> None:
    said = []
    for size in (1, 3):
        asking = AskingConfig(
            judge=str(captioner), batch_size=size, max_new_tokens=8, attempts=2, device="cpu"
        )
        config = CandidatesConfig("scenes", captioners=(str(captioner),), max_images=3)
        made = make_preferences(config, asking, run_dir=tmp_path / f"run{size}")
        said.append([item.candidates for item in made.items])
        assert (
            made.usage[f"captioner {captioner}"]["asked"] == 3
        )  # one text an image: nothing to judge
        # One text an image: there is nothing to judge.
        assert len((tmp_path / f"run{size}/transcript.jsonl").read_text().splitlines()) == 3
    replayed = replace(asking, replay=tmp_path / "run3/transcript.jsonl")
    made = make_preferences(config, replayed, run_dir=tmp_path / "again")
    assert said[0] == said[1] == [item.candidates for item in made.items]
    assert len({text for candidates in said[0] for text in candidates}) > 1


def test_what_a_local_judge_babbles_is_dropped_and_told(
    captioner: Path, scenes: Path, candidates: Path, tmp_path: Path
) -> None:
    asking = AskingConfig(judge=str(captioner), max_new_tokens=4, attempts=2, device="cpu")
    config = CandidatesConfig(str(scenes), candidates, max_images=2)
    made = make_preferences(config, asking, run_dir=tmp_path / "run")
    assert json.loads((tmp_path / "run/preferences.json").read_text()) == []
    assert made.judgements.malformed == 8
    assert sum(made.judgements.dropped.values()) == 4
    assert left_out(made)[0].startswith("4 x judgement: unreadable: it is")


def test_a_local_model_is_measured_by_the_command_for_multimodal_models(
    captioner: Path, tmp_path: Path
) -> None:
    from benchmarks.commands.evaluate_multimodal import main

    for number, name in enumerate(("beach", "beach", "forest")):
        path = tmp_path / f"data/{name}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (90, 60, 40 * number)).save(path)
    main(
        [str(captioner), "--suite", "classification", "--data", str(tmp_path / "data"),
         "--batch_size", "2", "--device", "cpu", "--out", str(tmp_path / "out")]
    )  # fmt: skip
    lines = (tmp_path / "out/predictions.jsonl").read_text().splitlines()
    said = [json.loads(line)["answer"] for line in lines]
    assert len(said) == 3
    assert any(said)  # random weights babble: that they are asked is what counts
    score = json.loads((tmp_path / "out/scores.json").read_text())["scores"][0]
    assert score["value"] == 0
    assert score["unreadable"] == 1


def test_a_local_model_sees_each_of_several_images_of_a_question(captioner: Path) -> None:
    """Questions about one image and about two are answered in one batch."""
    from cmid.evaluation.answers import Question
    from cmid.multimodal.evaluation.asking import open_answers

    generator = torch.Generator().manual_seed(1)
    one, two = (
        torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator)
        for size in ((56, 56), (84, 56))
    )
    config = AskingConfig(batch_size=4, max_new_tokens=8, device="cpu")
    model = open_answers(str(captioner), config)
    asked = [
        Question("change", "exact", "What has changed?", ("yes",), str(number), images)
        for number, images in enumerate((one, (one, one), (one, two), (two, one)))
    ]
    together = model.answer(asked)
    assert together == [model.answer([each])[0] for each in asked]
    assert together[0] != together[1]
    answerer = Answerer.from_pretrained(str(captioner), system="")
    batch = answerer.inputs([one, [one, two]], ["What?", "What?"])
    patches = batch["image_grid_thw"].prod(dim=1).tolist()
    assert len(patches) == 3
    first, again, second = batch["pixel_values"].split(patches)
    assert torch.equal(first, again)
    assert len(second) > len(first)


@pytest.mark.parametrize("judge", [None, "runs/nope"])
def test_models_that_are_not_there_are_named_before_any_is_asked(
    judge: str | None, captioner: Path, tmp_path: Path
) -> None:
    captioners = (str(captioner),) if judge else (str(captioner), "runs/nope")
    config = CandidatesConfig("scenes", captioners=captioners, max_images=3)
    with pytest.raises(FileNotFoundError, match="no model runs/nope: give a folder, or OWNER/NAME"):
        make_preferences(config, AskingConfig(judge=judge), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
