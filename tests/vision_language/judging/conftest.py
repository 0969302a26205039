"""An endpoint on this machine whose answers a test decides, and scenes with candidates."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cmid.data.scenes import SceneSource
from cmid.vision_language.judging.config import AskingConfig
from cmid.vision_language.judging.rubric import DIMENSIONS


def levels(*values: int) -> str:
    """A judgement as a judge should write it; one value stands for all five."""
    given = values if len(values) == len(DIMENSIONS) else values * len(DIMENSIONS)
    return json.dumps(dict(zip(DIMENSIONS, given, strict=True)))


def judged_text(prompt: str) -> str:
    """The caption or answer that a prompt asks a judgement of."""
    (quoted,) = re.findall(r"^(?:Caption|Answer): (.*)$", prompt, re.MULTILINE)
    return str(json.loads(quoted))


@dataclass
class Endpoint:
    """A server of chat completions.

    Attributes:
        answer: from prompt and number of earlier requests for it to what is said: a text, a status
            with headers, or a body.
        prompts, bodies: all that it was asked.
    """

    answer: Callable[[str, int], Any] = lambda prompt, before: levels(3)
    prompts: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    def config(self, **options: Any) -> AskingConfig:
        """Ask this endpoint, without pauses."""
        return AskingConfig(base_url=self.url, judge="openai:stub", **options)

    def respond(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers["Content-Length"])
        body = json.loads(handler.rfile.read(length))
        prompt = body["messages"][-1]["content"][-1]["text"]
        before = self.prompts.count(prompt)
        self.prompts.append(prompt)
        self.bodies.append(body)
        said = self.answer(prompt, before)
        status, content = 200, said
        if isinstance(said, int):
            status, content = said, {"error": {"message": f"status {said}"}}
        elif isinstance(said, str):
            usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
            message = {"role": "assistant", "content": said}
            content = {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": body["model"],
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": usage,
            }
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data)))
        handler.send_header("retry-after-ms", "1")
        handler.end_headers()
        handler.wfile.write(data)


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """A running endpoint, and a key for it."""
    pytest.importorskip("openai", reason="extra scoring is not installed")
    served = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            with suppress(BrokenPipeError, ConnectionResetError):  # nobody waits any longer
                served.respond(self)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six generated scenes, 0.png to 5.png."""
    folder = tmp_path_factory.mktemp("scenes")
    source = SceneSource(6, size=48, seed=3)
    for number in range(len(source)):
        pixels = source.read(number).pixels.permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def candidates(scenes: Path, tmp_path: Path) -> Path:
    """Two captions of each scene; that of the source ``a`` says more."""
    rows = [
        {"image_path": f"{number}.png", "candidates": {"a": f"longer, {number}", "b": f"s{number}"}}
        for number in range(6)
    ]
    path = tmp_path / "candidates.json"
    path.write_text(json.dumps(rows))
    return path
