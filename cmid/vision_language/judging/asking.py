"""Models that are asked about images, whoever runs them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from cmid.checkpoints.hugging_face import check_model
from cmid.vision_language.judging.config import ENDPOINT, AskingConfig

About = tuple[int, ...]


@dataclass(frozen=True)
class Request:
    """A question about an image, or about several.

    Attributes:
        about: what the asker knows it by.
        image: reads the image, ``(3, H, W)`` uint8.
        digest: hash of its pixels.
        prompt: what the model reads behind the image.
        schema: JSON schema of the answer; None for words.
        round, attempt: requests that differ in them alone are asked independently.
        more: read further images, which stand behind the first; the digest is of all.
    """

    about: About
    image: Callable[[], Tensor] = field(repr=False)
    digest: str
    prompt: str
    schema: Mapping[str, Any] | None = None
    round: int = 0
    attempt: int = 0
    more: tuple[Callable[[], Tensor], ...] = field(default=(), repr=False)

    def images(self) -> list[Tensor]:
        """Read the image, and those behind it."""
        return [self.image(), *(read() for read in self.more)]


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes:
        text: the answer.
        prompt_tokens, new_tokens: read and written; None where the server does not tell.
        retries: attempts that failed before.
        error: why there is no answer; empty where there is one.
    """

    text: str = ""
    prompt_tokens: int | None = None
    new_tokens: int | None = None
    retries: int = 0
    error: str = ""


class VisionModel(Protocol):
    """Anything that answers questions about images.

    Attributes:
        name: its name.
        settings: what its answers depend on besides the request; told by a transcript.
    """

    name: str
    settings: Mapping[str, Any]

    def answer(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Reply]]:
        """Answer requests, in any order, taking only as many as it works on at a time.

        Raises:
            ValueError: it cannot answer any.
        """


def request_key(model: VisionModel, request: Request) -> str:
    """Hash of all that an answer depends on."""
    about: list[Any] = [
        model.name,
        {**model.settings},
        request.digest,
        request.prompt,
        request.schema,
    ]
    about += [request.round, request.attempt]
    text = json.dumps(about, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def settings_of(spec: str, config: AskingConfig) -> dict[str, Any]:
    """What the answers of a model depend on besides the request."""
    if spec.startswith(ENDPOINT):
        names = ("request", "image_side", "output_format")
        return {name: getattr(config, name) for name in names}
    return {"max_new_tokens": config.max_new_tokens}


class AbsentModel:
    """A model that is known by name alone: all its answers are recorded, it gives none."""

    def __init__(self, name: str, settings: Mapping[str, Any]) -> None:
        self.name, self.settings = name, settings

    def answer(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Reply]]:
        """Look at all requests, answer none."""
        for request in requests:
            raise ValueError(f"{self.name} is not here to answer {request.prompt[:60]!r}")
        yield from ()


def check_models(specs: Sequence[str], config: AskingConfig) -> None:
    """Check that models of folders and of the hub may be there, before the first one is opened.

    Raises:
        FileNotFoundError: no such folder, nor a name that the hub can have.
        ValueError: the folder of something else.
    """
    for spec in specs if config.replay is None else ():
        if not spec.startswith(ENDPOINT):
            check_model(spec)


def open_model(spec: str, config: AskingConfig) -> VisionModel:
    """The model of a name: one of an endpoint, of a folder or of the hub.

    Raises:
        ModuleNotFoundError: the extra scoring is not installed.
        OSError: no such model.
        ValueError: the environment has no key, or there is no such device.
    """
    name, settings = spec.removeprefix(ENDPOINT), settings_of(spec, config)
    if config.replay is not None:
        return AbsentModel(name, settings)
    if spec.startswith(ENDPOINT):
        from cmid.vision_language.judging.endpoint import EndpointModel

        return EndpointModel(name, settings, config)
    from cmid.vision_language.judging.local_model import LocalModel

    return LocalModel(name, settings, config)
