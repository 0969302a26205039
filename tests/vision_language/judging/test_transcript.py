"""Nothing is asked twice, and a record answers without any model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cmid.vision_language.judging.asking import AbsentModel, Reply, Request, request_key
from cmid.vision_language.judging.transcript import NOT_RECORDED, Transcript


class Parrot:
    """Says the prompt; ``bad`` ones fail."""

    def __init__(self, **settings: Any) -> None:
        self.name, self.settings = "parrot", settings
        self.asked: list[str] = []

    def answer(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Reply]]:
        for request in requests:
            self.asked.append(request.prompt)
            failed = request.prompt.startswith("bad")
            yield request, Reply(error="no") if failed else Reply(request.prompt, 10, 2, 1)


def requests(*prompts: str, **settings: int) -> list[Request]:
    image = torch.zeros(3, 2, 2, dtype=torch.uint8)
    return [
        Request((number,), lambda: image, "d", prompt, **settings)
        for number, prompt in enumerate(prompts)
    ]


def ask(path: Path, model: Any, *prompts: str, replay: bool = False) -> tuple[dict, Any]:
    transcript = Transcript(path, replay=replay)
    found = dict(transcript.ask(model, requests(*prompts), role="judge"))
    transcript.close()
    return found, transcript.usage[f"judge {model.name}"]


def test_answers_are_recorded_and_failures_are_asked_again(tmp_path: Path) -> None:
    path, model = tmp_path / "run/t.jsonl", Parrot()
    found, usage = ask(path, model, "a", "bad", "Äcker 畑")
    assert found[0,] == Reply("a", 10, 2, 1)
    assert found[1,].error == "no"
    assert (usage["asked"], usage["recorded"], usage["failed"], usage["retries"]) == (3, 0, 1, 2)
    assert (usage["prompt_tokens"], usage["paid_prompt_tokens"]) == (20, 20)
    model.asked.clear()
    found, usage = ask(path, model, "Äcker 畑", "new", "bad", "a")
    assert sorted(model.asked) == ["bad", "new"]
    assert [found[k,].text for k in range(4)] == ["Äcker 畑", "new", "", "a"]
    assert (usage["asked"], usage["recorded"], usage["failed"]) == (2, 2, 1)
    assert (usage["prompt_tokens"], usage["paid_prompt_tokens"]) == (30, 10)
    line = json.loads(path.read_text().splitlines()[0])
    assert line["key"] == request_key(model, requests("a")[0])
    assert (line["model"], line["prompt"], line["image"]) == ("parrot", "a", "d")


def test_a_record_replays_without_a_model_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    ask(path, Parrot(temperature=0), "a", "b")
    before = path.read_bytes()
    found, usage = ask(path, AbsentModel("parrot", {"temperature": 0}), "b", "c", replay=True)
    assert (found[0,].text, found[1,].error) == ("b", NOT_RECORDED)
    assert (usage["asked"], usage["recorded"], usage["failed"]) == (0, 1, 1)
    assert path.read_bytes() == before
    # Other settings, another image, another round: other answers.
    found, _ = ask(path, AbsentModel("parrot", {"temperature": 1}), "b", replay=True)
    assert found[0,].error == NOT_RECORDED
    model = Parrot()
    others = [requests("a"), requests("b"), requests("a", round=1), requests("a", attempt=1)]
    assert len({request_key(model, *each) for each in others}) == 4
    with pytest.raises(FileNotFoundError, match=r"none\.jsonl does not exist"):
        Transcript(tmp_path / "none.jsonl", replay=True)


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_line_that_a_killed_process_left_is_taken_away(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    ask(path, Parrot(), "a", "b 畑")
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    model = Parrot()
    found, _ = ask(path, model, "a", "b 畑")
    assert model.asked == ["b 畑"]
    assert found[1,].text == "b 畑"
    assert path.read_bytes() == whole


@pytest.mark.parametrize("line", ["{}", "no", "[1]", '{"key": "k", "text": "t"}', "\ufeff"])
def test_a_damaged_line_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    ask(path, Parrot(), "a")
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ValueError, match=r"t\.jsonl, line 2, is no line of a transcript"):
        Transcript(path)
