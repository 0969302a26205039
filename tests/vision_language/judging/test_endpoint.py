"""Endpoints that are busy, broken, slow or odd."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cmid.vision_language.judging.asking import Reply, Request, VisionModel, open_model
from cmid.vision_language.judging.config import AskingConfig
from cmid.vision_language.judging.rubric import SCHEMA
from cmid.vision_language.judging.transcript import Transcript
from tests.vision_language.judging.conftest import Endpoint

PIXELS = torch.arange(3 * 40 * 60).reshape(3, 40, 60).remainder(251).to(torch.uint8)


def request(prompt: str, number: int = 0, schema: Any = None) -> Request:
    return Request((number,), lambda: PIXELS, "digest", prompt, schema)


def answers(model: VisionModel, *prompts: str) -> list[Reply]:
    """Replies in the order of the prompts."""
    found = dict(model.answer(request(p, n) for n, p in enumerate(prompts)))
    return [reply for _, reply in sorted(found.items(), key=lambda each: each[0].about)]


def test_a_request_carries_image_prompt_schema_and_further_fields(endpoint: Endpoint) -> None:
    config = endpoint.config(image_side=30, request={"temperature": 0.5, "top_k": 3})
    model = open_model("openai:org/judge", config)
    ((_, reply),) = model.answer([request("Tell.", schema=SCHEMA)])
    assert (reply.prompt_tokens, reply.new_tokens, reply.retries) == (100, 20, 0)
    (body,) = endpoint.bodies
    assert (body["model"], body["temperature"], body["top_k"]) == ("org/judge", 0.5, 3)
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA
    assert body["response_format"]["json_schema"]["strict"] is True
    url = body["messages"][0]["content"][0]["image_url"]["url"]
    head, _, data = url.partition(",")
    assert head == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (30, 20)
    ((_, _),) = open_model("openai:x", endpoint.config(output_format="text")).answer(
        [request("Tell.", schema=SCHEMA)]
    )
    assert "response_format" not in endpoint.bodies[-1]
    url = endpoint.bodies[-1]["messages"][0]["content"][0]["image_url"]["url"]
    decoded = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    assert np.array_equal(np.asarray(decoded), PIXELS.permute(1, 2, 0).numpy())


def test_busy_and_failing_servers_are_asked_again_and_what_stays_away_is_a_failure(
    endpoint: Endpoint,
) -> None:
    said: dict[str, list[Any]] = {
        "busy": [429, 429, "fine"],
        "failing": [500, "fine"],
        "down": [503] * 9,
        "odd": [400, "never"],
        "garbled": [b"<html>"],
        "empty": [{"id": "1", "choices": []}],
        "null": [{"choices": [{"message": {"content": None}}]}],
        "words": ["Äcker 畑 \ud800"],
    }
    endpoint.answer = lambda prompt, before: said[prompt][before]
    replies = answers(open_model("openai:m", endpoint.config(retries=2)), *said)
    found = dict(zip(said, replies, strict=True))
    assert (found["busy"].text, found["busy"].retries) == ("fine", 2)
    assert (found["failing"].text, found["failing"].retries) == ("fine", 1)
    assert "status 503" in found["down"].error
    assert endpoint.prompts.count("down") == 3
    assert "status 400" in found["odd"].error
    assert endpoint.prompts.count("odd") == 1
    assert found["garbled"].error == found["empty"].error == "the server's answer has no message"
    assert (found["null"].text, found["null"].error) == ("", "")
    assert found["null"].prompt_tokens is None
    assert found["words"].text == "Äcker 畑 ?"


def test_a_server_that_does_not_answer_in_time_is_asked_again(endpoint: Endpoint) -> None:
    def slow_once(prompt: str, before: int) -> str:
        time.sleep(0 if before else 1.0)
        return "late"

    endpoint.answer = slow_once
    (reply,) = answers(open_model("openai:m", endpoint.config(timeout=0.3, retries=1)), "a")
    assert (reply.text, reply.retries) == ("late", 1)
    (reply,) = answers(
        open_model("openai:m", AskingConfig(base_url="http://127.0.0.1:9/v1", retries=0)), "a"
    )
    assert reply.error == "APIConnectionError: Connection error."


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_or_name_ends_the_run_at_once(status: int, endpoint: Endpoint) -> None:
    endpoint.answer = lambda prompt, before: status
    with pytest.raises(ValueError, match="correct --base_url, the name of the model, or the key"):
        answers(open_model("openai:m", endpoint.config(concurrency=2)), *"abcdefgh")
    assert len(endpoint.prompts) <= 4


def test_a_missing_key_says_which_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openai")
    monkeypatch.delenv("MINE", raising=False)
    with pytest.raises(ValueError, match="the environment has no MINE: set it"):
        open_model("openai:m", AskingConfig(api_key_variable="MINE"))


def test_no_more_requests_run_at_a_time_than_allowed(endpoint: Endpoint) -> None:
    running, most, lock = 0, 0, threading.Lock()

    def answer(prompt: str, before: int) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1
        return prompt

    endpoint.answer = answer
    prompts = [f"p{n}" for n in range(12)]
    replies = answers(open_model("openai:m", endpoint.config(concurrency=3)), *prompts)
    assert [reply.text for reply in replies] == prompts
    assert 1 < most <= 3


def test_what_was_sent_before_an_interruption_is_recorded(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    endpoint.answer = lambda prompt, before: prompt.upper()

    def interrupted() -> Iterator[Request]:
        yield request("a", 0)
        yield request("b", 1)
        raise KeyboardInterrupt

    model = open_model("openai:m", endpoint.config(concurrency=8))
    transcript = Transcript(tmp_path / "t.jsonl")
    found = []
    with pytest.raises(KeyboardInterrupt):
        found.extend(transcript.ask(model, interrupted(), role="judge"))
    transcript.close()
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert sorted(line["text"] for line in lines) == ["A", "B"]


def test_a_dead_endpoint_ends_the_run_after_twenty_failures(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    endpoint.answer = lambda prompt, before: 500
    model = open_model("openai:m", endpoint.config(retries=0, concurrency=1))
    transcript = Transcript(tmp_path / "t.jsonl")
    with pytest.raises(ValueError, match="20 requests to m failed in a row"):
        list(transcript.ask(model, (request(f"p{n}", n) for n in range(100)), role="judge"))
    transcript.close()
    assert len(endpoint.prompts) <= 21
