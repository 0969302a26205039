"""Models behind any endpoint that speaks as OpenAI's chat completions do."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import ModuleType
from typing import Any

from PIL import Image as PillowImage
from torch import Tensor

from cmid.views.crops import resize
from cmid.vision_language.judging.asking import Reply, Request
from cmid.vision_language.judging.config import AskingConfig
from cmid.vision_language.judging.items import as_utf8

# The settings are wrong: no other request would fare better.
_HOPELESS = (401, 403, 404)


def _import_openai() -> ModuleType:
    try:
        import openai
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("endpoints need openai: pip install 'cmid[scoring]'") from error
    return openai


class EndpointModel:
    """A model of an endpoint (OpenAI, vLLM, Ollama and others), asked by several threads.

    Busy, failing and slow servers are asked again by the client, with growing pauses or those that
    the server names.

    Args:
        name: the model's name at the endpoint.
        settings: see `VisionModel`.
        config: how it is asked.

    Raises:
        ModuleNotFoundError: openai is not installed.
        ValueError: the environment has no key.
    """

    def __init__(self, name: str, settings: Mapping[str, Any], config: AskingConfig) -> None:
        self._openai = _import_openai()
        key = os.environ.get(config.api_key_variable)
        if not key:
            raise ValueError(
                f"the environment has no {config.api_key_variable}: set it to the key of the"
                " endpoint (to any word, where it wants none), or name another variable with"
                " --api_key_variable"
            )
        self._client = self._openai.OpenAI(
            api_key=key,
            base_url=config.base_url,
            max_retries=config.retries,
            timeout=config.timeout,
        )
        self.name, self.settings, self._config = name, settings, config

    def answer(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Reply]]:
        """See `VisionModel.answer`; after an interruption, what was sent is still waited for."""
        waiting: dict[Future[Reply], Request] = {}
        with ThreadPoolExecutor(self._config.concurrency) as pool:
            try:
                for request in requests:
                    waiting[pool.submit(self._ask, request)] = request
                    if len(waiting) == self._config.concurrency:
                        yield from _finished(waiting)
                while waiting:
                    yield from _finished(waiting)
            except (KeyboardInterrupt, ValueError):
                for future, request in waiting.items():
                    if future.exception() is None:  # it is paid
                        yield request, future.result()
                raise

    def _ask(self, request: Request) -> Reply:
        side, retries = self._config.image_side, self._config.retries
        content: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": _data_url(image, side)}}
            for image in request.images()
        ]
        content.append({"type": "text", "text": request.prompt})
        fields = {"model": self.name, "messages": [{"role": "user", "content": content}]}
        try:
            answer = self._client.chat.completions.with_raw_response.create(
                **fields, **self._form(request), extra_body=self._config.request
            )
            return _reply(answer, answer.retries_taken)
        except self._openai.APIStatusError as error:
            reason = " ".join(str(error).split())
            if error.status_code in _HOPELESS:
                raise ValueError(
                    f"{self._client.base_url} refuses {self.name} ({reason}): correct --base_url,"
                    f" the name of the model, or the key in {self._config.api_key_variable}"
                ) from error
            retried = error.status_code in (408, 409, 429) or error.status_code >= 500
            return Reply(error=as_utf8(reason[:500]), retries=retries if retried else 0)
        except self._openai.OpenAIError as error:
            return Reply(error=as_utf8(f"{type(error).__name__}: {error}"), retries=retries)

    def _form(self, request: Request) -> dict[str, Any]:
        if request.schema is None or self._config.output_format == "text":
            return {}
        if self._config.output_format == "json_object":
            return {"response_format": {"type": "json_object"}}
        schema = {"name": "answer", "strict": True, "schema": request.schema}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _finished(waiting: dict[Future[Reply], Request]) -> Iterator[tuple[Request, Reply]]:
    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
    for future in done:
        reply = future.result()
        yield waiting.pop(future), reply


def _reply(answer: Any, retries: int) -> Reply:
    """Servers leave out what they like: no choice, no text, no counts, or are no such servers."""
    try:
        completion = answer.parse()
        text = completion.choices[0].message.content
    except (AttributeError, IndexError, TypeError, ValueError):
        return Reply(error="the server's answer has no message", retries=retries)
    usage = getattr(completion, "usage", None)
    read, new = (getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens"))
    return Reply(as_utf8(text or ""), read, new, retries)


def _data_url(pixels: Tensor, side: int) -> str:
    height, width = pixels.shape[-2:]
    scale = min(1.0, side / max(height, width))
    small = resize(pixels, (max(1, round(height * scale)), max(1, round(width * scale))))
    encoded = io.BytesIO()
    PillowImage.fromarray(small.permute(1, 2, 0).numpy()).save(encoded, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(encoded.getvalue()).decode()}"
