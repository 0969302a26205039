"""Conversations about generated scenes, and files of conversations."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers", reason="extra multimodal is not installed")

from cmid.data.scenes import PLAIN_AREA, generate_scene
from cmid.data.scenes.phrases import CLEARLY, place, plural
from cmid.multimodal.data import ConversationFile, SceneConversations
from cmid.multimodal.data.scenes import FURTHER, KINDS, PLACES, ask


def test_scenes_are_asked_what_is_true_of_them() -> None:
    found: dict[str, list[str]] = {kind: [] for kind in (*KINDS, *FURTHER)}
    slivers = 0
    for index in range(60):
        scene = generate_scene(index, size=64)
        named = [each for each in scene.instances if each.area < PLAIN_AREA]
        slivers += len(named) > 0
        for asked in ask(scene, random.Random(index), (*KINDS, *FURTHER)):
            found[asked.kind].append(asked.answer)
            if asked.kind == "cover":
                second, first = np.sort(np.bincount(scene.semantic_mask.ravel()))[-2:]
                assert first > CLEARLY * second
            if asked.kind == "choice":
                assert f"{asked.answer}. {scene.class_name}" in asked.text
            if asked.kind == "count":
                assert not any(plural(each.category) in asked.text for each in named)
            if asked.kind == "place":
                boxes = {f" {phrase}?": box for phrase, box in scene.region_phrases}
                (box,) = (box for phrase, box in boxes.items() if phrase in asked.text)
                assert asked.answer == place((box[0] + box[2]) / 128, (box[1] + box[3]) / 128)
            if asked.kind == "honesty" and asked.true:
                assert {f"a {each.category}?" for each in scene.instances} >= {asked.text[14:]}
    assert 40 < len(found["cover"]) < 60  # near ties are not asked about
    assert slivers > 10
    assert 10 < len(found["count"]) < 40  # what is hardly seen is not counted
    for kind in ("presence", "comparison"):
        assert 0.3 < found[kind].count("yes") / len(found[kind]) < 0.7
    assert set(found["choice"]) == set("ABCD")
    assert all(answer.startswith("[") for answer in found["grounding"])
    assert all(answer.startswith("{") for answer in found["oriented"])
    denied = sum(answer.startswith("there is no") for answer in found["honesty"])
    assert 0.3 < denied / len(found["honesty"]) < 0.7
    assert len({*found["place"]}) > 4
    assert {*found["place"]} <= {*PLACES}
    source = SceneConversations(10, size=32, kinds=["count", "region"], limit=1)
    assert all(len(source.read(index).conversations) <= 1 for index in range(10))
    often = SceneConversations(10, size=32, kinds=["choice", "urban"], again={"choice": 3})
    assert [len(often.read(index).conversations) for index in range(3)] == [4, 4, 4]
    few = SceneConversations(40, size=32, limit=2, always=["caption"])
    asked_first = [
        [each.turns[0].question for each in few.read(index).conversations] for index in range(40)
    ]
    assert all(sum("Describe" in text for text in texts) == 1 for texts in asked_first)
    assert 5 < sum("Describe" in texts[0] for texts in asked_first) < 35
    assert all(len(texts) == 2 for texts in asked_first)


def test_whether_a_thing_is_there_cannot_be_told_by_its_name() -> None:
    asked = [
        (question.text, not question.true)
        for index in range(250)
        for question in ask(generate_scene(index, size=64), random.Random(index), ["honesty"])
    ]
    for names in (("building",), ("ship", "plane", "storage tank")):
        absent = [gone for text, gone in asked if text[16:-1] in names]
        assert 0.35 < sum(absent) / len(absent) < 0.65
        assert len(absent) > 40


def test_files_of_conversations_are_read_and_checked(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (8, 6), (9, 0, 0)).save(tmp_path / "a.png")
    said = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A Roof."}]
    rows: list[Any] = [
        {"id": "1", "image": "a.png", "conversations": said},
        {"image": ["a.png", "a.png"], "conversations": [{**said[0], "value": "Same?"}, said[1]]},
        {"conversations": [{**said[0], "value": "Hello?"}, said[1]]},
    ]
    path = tmp_path / "data.json"
    path.write_text(json.dumps(rows))
    source = ConversationFile(path)
    examples = [source.read(index) for index in range(3)]
    assert [len(example.images) for example in examples] == [1, 2, 0]
    assert [example.conversations[0].num_images for example in examples] == [1, 2, 0]
    assert examples[0].conversations[0].turns[0].answer == "A Roof."
    faulty = [
        ({"image": "b.png", "conversations": said}, "there is no image"),
        ({"image": "a.png"}, "no 'conversations'"),
        ({"image": "a.png", "conversations": said[:1]}, "has no answer"),
        ({"conversations": said}, "1 places"),
        ("text", "no JSON object"),
    ]
    for row, fault in faulty:
        path.write_text(json.dumps([*rows, row]))
        with pytest.raises(ValueError, match=f"entry 3: .*{fault}"):
            ConversationFile(path)
        assert len(ConversationFile(path, on_error="skip")) == 3
        assert ConversationFile(path, on_error="skip").skipped.total() == 1
    for text, fault in (("{", "is not JSON"), ("{}", "not a list"), ("[]", "no conversation")):
        path.write_text(text)
        with pytest.raises(ValueError, match=fault):
            ConversationFile(path)
