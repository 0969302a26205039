"""Models of Hugging Face that answer on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import torch

from cmid.vision_language.judging.asking import Reply, Request
from cmid.vision_language.judging.config import AskingConfig
from cmid.vision_language.scoring.answerer import Answerer


class LocalModel:
    """An image-text-to-text model of a folder or of the hub; it takes the likeliest words.

    Args:
        name: folder, or name on the hub.
        settings: see `VisionModel`.
        config: batch size, longest answer, device.

    Raises:
        ModuleNotFoundError: transformers is not installed.
        OSError: no such model.
        ValueError: no such device.
    """

    def __init__(self, name: str, settings: Mapping[str, Any], config: AskingConfig) -> None:
        self.name, self.settings, self._config = name, settings, config
        device = config.device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._answerer = Answerer.from_pretrained(name, system="", device=device, dtype="auto")

    def answer(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Reply]]:
        """See `VisionModel.answer`."""
        left = iter(requests)
        while batch := [*islice(left, self._config.batch_size)]:
            answers = self._answerer.sample(
                [request.images() for request in batch],
                [request.prompt for request in batch],
                count=1,
                temperature=0.0,
                max_new_tokens=self._config.max_new_tokens,
            )
            for request, (text,) in zip(batch, answers, strict=True):
                yield request, Reply(text.strip())
