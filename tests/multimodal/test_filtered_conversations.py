"""Conversations that a learned score keeps: from the filter's command to what training reads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("open_clip", reason="extra vision-language is not installed")
pytest.importorskip("pyarrow", reason="extra scoring is not installed")
import pyarrow.parquet as pq

from cmid.multimodal.data import ConversationFile
from cmid.multimodal.instructions.making import make_instructions
from cmid.multimodal.instructions.settings import LabelledConfig, WritingConfig
from cmid.vision_language.data import open_texts
from cmid.vision_language.data.conversations import ConversationTexts
from tests.integration.in_process import run


@pytest.fixture(scope="module")
def scorer(tiny_clip: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    from cmid.vision_language.clip.building import build_clip
    from cmid.vision_language.clip.config import CLIPConfig
    from cmid.vision_language.scoring.dual_encoder import DualEncoderScorer
    from cmid.vision_language.scoring.storage import save_scorer

    torch.manual_seed(4)
    scorer = DualEncoderScorer(build_clip(CLIPConfig(tiny_clip)))
    return str(save_scorer(scorer, tmp_path_factory.mktemp("scorer") / "scorer"))


def entry(image: Any, *said: str) -> dict[str, Any]:
    turns = [
        {"from": ("human", "gpt")[number % 2], "value": text} for number, text in enumerate(said)
    ]
    return {"image": image, "conversations": turns}


def conversations(folder: Path) -> list[dict[str, Any]]:
    """Six about one image each, one about two, and one about none."""
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    about = [
        entry(f"{number}.png", "<image>\nWhat is it?", f"a scene with {number} ships and a pier")
        for number in range(6)
    ]
    pair = entry(["0.png", "1.png"], "<image>\n<image>\nWhat has changed?", "nothing")
    return [about[0], pair, *about[1:4], entry([], "What is a pier?", "A place."), *about[4:]]


@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_training_reads_the_conversations_that_the_filter_keeps(
    ending: str, scorer: str, tmp_path: Path
) -> None:
    rows = conversations(tmp_path)
    path, out = tmp_path / f"chat.{ending}", tmp_path / "s.parquet"
    lines = [json.dumps(row) for row in rows]
    path.write_text(f"[{','.join(lines)}]" if ending == "json" else "\n".join(lines))
    outcome = run("tools/filter_pairs.py", path, "--scorer", scorer, "--out", out, "--keep", "0.5")
    assert outcome.status == 0, outcome.err
    assert "train_multimodal" in outcome.out
    assert "--data.source.init_args.selection" in outcome.out
    found = pq.read_table(out).to_pydict()
    best = np.argsort(-np.array(found["score"]))[:3]
    wanted = {f"{found['index'][number]}.png" for number in best}
    told = r"5 of 8 entries of .* keeps 3 of the 6 that are about one image"
    with pytest.warns(UserWarning, match=told):
        source = ConversationFile(path, selection=out)
    assert len(source) == 3
    answers = [source.read(number).conversations[0].turns[0].answer for number in range(3)]
    assert {f"{str(answer).split()[3]}.png" for answer in answers} == wanted
    path.write_text(json.dumps(rows[:-1]) if ending == "json" else "\n".join(lines[:-1]))
    with pytest.raises(ValueError, match="which is not this source"):
        ConversationFile(path, selection=out)


def test_instructions_from_labels_are_filtered(scorer: str, tmp_path: Path) -> None:
    conversations(tmp_path)
    for number in range(6):
        folder = tmp_path / "set" / ("forest", "river")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.move(tmp_path / f"{number}.png", folder)
    labelled = LabelledConfig(tmp_path / "set", kind="classification")
    made = tmp_path / "made.jsonl"
    make_instructions(labelled, WritingConfig(out=made), command="make")
    assert isinstance(open_texts(made), ConversationTexts)
    arguments = ["--scorer", scorer, "--out", tmp_path / "s.parquet", "--keep", "1"]
    outcome = run("tools/filter_pairs.py", made, *arguments)
    assert outcome.status == 0, outcome.err
    whole = ConversationFile(made)
    assert len(ConversationFile(made, selection=tmp_path / "s.parquet")) == len(whole)


def test_short_answers_are_scored_with_their_questions(tmp_path: Path) -> None:
    conversations(tmp_path)
    said = ["<image>\nIs there a ship?", "yes", "Describe it.", "A grey ship at a pier."]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"data": [entry("0.png", *said)]}))
    assert open_texts(path).captions(0) == ("Is there a ship? yes A grey ship at a pier.",)
    path.write_text(json.dumps([entry("0.png", *said), entry("1.png", "<image>\nWhat?")]))
    with pytest.raises(ValueError, match=r"a\.json: entry 1: it has no answer"):
        open_texts(path)
    assert len(open_texts(path, on_error="skip")) == 1
