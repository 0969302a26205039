"""How a model writes answers: how long, how freely, where it stops, and piece by piece."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cmid.multimodal.tokens import ConversationEncoder, import_transformers


@dataclass(frozen=True)
class AnsweringConfig:
    """How answers are written.

    Attributes:
        max_tokens: longest answer.
        temperature: 0 takes the likeliest token each time; above, tokens are drawn.
        top_p: draw from the likeliest tokens that together have this probability.
        beams: above 1, the answer that is likeliest as a whole is looked for, by following so many
            at a time; captions, which can be worded in many ways, gain by it.
        stop: texts that end an answer, and are not part of it.
        seed: of what is drawn; None draws anew each time.

    Raises:
        ValueError: a number out of its range, or beams of what is drawn.
    """

    max_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    beams: int = 1
    stop: tuple[str, ...] = ()
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens {self.max_tokens} is below 1")
        if self.temperature < 0:
            raise ValueError(f"temperature {self.temperature} is below 0")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p {self.top_p} is not in (0, 1]")
        if self.beams < 1 or (self.beams > 1 and self.temperature > 0):
            raise ValueError(
                f"beams {self.beams} at temperature {self.temperature}: give 1 or more, above 1"
                " at temperature 0"
            )


def generation_arguments(config: AnsweringConfig, encoder: ConversationEncoder) -> dict[str, Any]:
    """Arguments of transformers' ``generate``; a model's own settings have no say."""
    transformers = import_transformers()
    sampled = config.temperature > 0
    drawn = {"temperature": config.temperature, "top_p": config.top_p, "top_k": 0}
    # Sums of log-probabilities are compared as they are, whatever the length.
    followed = {"num_beams": config.beams, "length_penalty": 0.0}
    settings = transformers.GenerationConfig(
        max_new_tokens=config.max_tokens,
        do_sample=sampled,
        eos_token_id=encoder.ends or None,
        pad_token_id=encoder.tokenizer.pad_token_id,
        use_cache=True,
        **(drawn if sampled else {}),
        **(followed if config.beams > 1 else {}),
    )
    arguments: dict[str, Any] = {"generation_config": settings, "use_model_defaults": False}
    stops = [*encoder.stops, *config.stop]
    if stops:
        arguments |= {"stop_strings": stops, "tokenizer": encoder.tokenizer}
    return arguments


def read_answer(ids: Sequence[int], config: AnsweringConfig, encoder: ConversationEncoder) -> str:
    """The text of an answer's tokens, up to what ends it, without white space around."""
    ends = set(encoder.ends)
    kept = list(ids)
    cut = next((place for place, number in enumerate(kept) if number in ends), len(kept))
    text = encoder.tokenizer.decode(kept[:cut], skip_special_tokens=True)
    for stop in (*encoder.stops, *config.stop):
        text = text.partition(stop)[0]
    return text.strip()


class _Queue:
    """A streamer of transformers: what ``generate`` writes, for another thread."""

    def __init__(self) -> None:
        self.written: queue.Queue[list[int] | BaseException | None] = queue.Queue()
        self.cancelled = threading.Event()

    def put(self, value: torch.Tensor) -> None:
        self.written.put(value.flatten().tolist())

    def end(self) -> None:
        return


def stream_text(
    generate: Callable[..., Any], config: AnsweringConfig, encoder: ConversationEncoder
) -> Iterator[str]:
    """Parts of an answer as soon as they are sure; together they are what `read_answer` gives.

    A part waits while it may be the start of a stop text, of a letter or of white space at the end.
    Who stops reading stops the model.

    Args:
        generate: called with a streamer and stopping criteria, in a thread of its own.
    """
    transformers = import_transformers()
    received = _Queue()

    class Cancelled(transformers.StoppingCriteria):  # type: ignore[name-defined]
        def __call__(self, ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
            return torch.full((len(ids),), received.cancelled.is_set(), device=ids.device)

    def work() -> None:
        try:
            criteria = transformers.StoppingCriteriaList([Cancelled()])
            generate(streamer=received, stopping_criteria=criteria)
            received.written.put(None)
        except BaseException as error:
            received.written.put(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    ids: list[int] = []
    told = ""
    try:
        while (part := received.written.get()) is not None:
            if isinstance(part, BaseException):
                raise part
            ids += part
            sure = _sure(read_answer(ids, config, encoder), (*encoder.stops, *config.stop))
            if len(sure) > len(told):
                yield sure[len(told) :]
                told = sure
        yield read_answer(ids, config, encoder)[len(told) :]
    finally:
        received.cancelled.set()
        thread.join()


def _sure(text: str, stops: Sequence[str]) -> str:
    """The part of a text that later tokens cannot change."""
    waiting = len(text) - len(text.rstrip("\ufffd"))
    for stop in stops:
        for length in range(1, len(stop)):
            if text.endswith(stop[:length]):
                waiting = max(waiting, length)
    return text[: len(text) - waiting].rstrip()
