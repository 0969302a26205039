"""Conversations about images, and how they are written for a language model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

IMAGE = "<image>"
"""Marks the place of an image in a question."""
Template = Literal["plain", "llama2", "llama3", "chat"]

_LLAMA2_SYSTEM = (
    "You are a helpful language and vision assistant. You are able to understand the visual content"
    " that the user provides, and assist the user with a variety of tasks using natural language."
)
_LLAMA3_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives"
    " helpful, detailed, and polite answers to the user's questions. If your don't know the answer"
    " to a question, please don't share false information."  # sic
)
_USER = "<|start_header_id|>user<|end_header_id|>\n\n"
_ASSISTANT = "<|start_header_id|>assistant<|end_header_id|>\n\n"
# Where contents stand while a tokenizer's own template is rendered: signs that no text has.
_PLACE = re.compile("\ue000([qa])(\\d+)\ue001")


@dataclass(frozen=True)
class Turn:
    """A question and its answer; None where the model is to answer."""

    question: str
    answer: str | None = None


@dataclass(frozen=True)
class Conversation:
    """Turns, whose questions mark the places of images by ``<image>``.

    Attributes:
        turns: at least one; only the last may lack its answer.
        system: instruction in front; None takes the template's own.

    Raises:
        ValueError: no turns, or an answer is missing before the last turn.
    """

    turns: tuple[Turn, ...]
    system: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "turns", tuple(self.turns))
        if not self.turns or any(turn.answer is None for turn in self.turns[:-1]):
            raise ValueError("a conversation needs turns, all but the last with an answer")

    @classmethod
    def of(cls, value: Any, *, images: int = 0) -> Conversation:
        """A conversation of other forms.

        Args:
            value: a conversation; a question; pairs of question and answer; or messages,
                ``{"role", "content"}`` or ``{"from", "value"}`` (LLaVA).
            images: where no place is marked, they stand in front of the first question.

        Raises:
            ValueError: something else, or more or fewer places than images.
        """
        if isinstance(value, str):
            value = cls((Turn(value),))
        if not isinstance(value, cls):
            value = _from_messages(value) if _is_messages(value) else _from_pairs(value)
        if images and not value.num_images:
            first = replace(
                value.turns[0], question=f"{IMAGE}\n" * images + value.turns[0].question
            )
            value = replace(value, turns=(first, *value.turns[1:]))
        if value.num_images != images:
            raise ValueError(
                f"a conversation names {value.num_images} places ({IMAGE}) for {images} images"
            )
        return value

    @property
    def num_images(self) -> int:
        """Places of images."""
        return sum(turn.question.count(IMAGE) for turn in self.turns)

    @property
    def prompt(self) -> Conversation:
        """The same without the last answer."""
        return replace(self, turns=(*self.turns[:-1], replace(self.turns[-1], answer=None)))

    def rewritten(self, write: Callable[[str], str]) -> Conversation:
        """The same with other texts of questions and answers."""
        turns = [
            Turn(write(turn.question), None if turn.answer is None else write(turn.answer))
            for turn in self.turns
        ]
        return replace(self, turns=tuple(turns))

    def without_first_turn(self) -> Conversation:
        """Without the first turn, whose images move to the one that follows.

        Raises:
            ValueError: it is the only one.
        """
        if len(self.turns) == 1:
            raise ValueError("a conversation of one turn has none to leave out")
        first, second, *rest = self.turns
        moved = f"{IMAGE}\n" * first.question.count(IMAGE)
        return replace(self, turns=(replace(second, question=moved + second.question), *rest))


@dataclass(frozen=True)
class Piece:
    """A part of a rendered conversation.

    Attributes:
        text: as written.
        learned: whether the loss is about it.
        kind: ``words`` of the user or the assistant, in which nothing is a sign of the tokenizer;
            ``signs`` of the template; or the place of an ``image``.
    """

    text: str
    learned: bool = False
    kind: Literal["words", "signs", "image"] = "words"


def render(conversation: Conversation, template: Template, *, tokenizer: Any = None) -> list[Piece]:
    """Write a conversation.

    Args:
        template: ``plain``, ``llama2`` and ``llama3`` as published, or ``chat``: that of the
            tokenizer. ``plain`` knows one turn with images and leaves its question out. Where the
            last answer is missing, what follows is for the model to write.
        tokenizer: for ``chat``.

    Raises:
        ValueError: no such template, or a conversation that it cannot write.
    """
    if template == "plain":
        return list(_plain(conversation))
    if template == "llama2":
        return list(_llama2(conversation))
    if template == "llama3":
        return list(_llama3(conversation))
    if template == "chat":
        return list(_chat(conversation, tokenizer))
    raise ValueError(f"no template {template!r}: one of {', '.join(get_args(Template))}")


def _plain(conversation: Conversation) -> Iterator[Piece]:
    if len(conversation.turns) != 1 or not conversation.num_images:
        raise ValueError("template plain writes one turn with images: take another")
    for _ in range(conversation.num_images):
        yield Piece(IMAGE, kind="image")
    if conversation.turns[0].answer is not None:
        yield Piece(conversation.turns[0].answer, learned=True)
        yield Piece("\n", learned=True, kind="signs")


def _llama2(conversation: Conversation) -> Iterator[Piece]:
    system = _LLAMA2_SYSTEM if conversation.system is None else conversation.system
    head = f"[INST] <<SYS>>\n{system}\n<</SYS>>\n\n"
    for turn in conversation.turns:
        yield Piece(head, kind="signs")
        yield from _question(turn.question)
        yield Piece(" [/INST]", kind="signs")
        if turn.answer is not None:
            # The blank is in the answer's first token, in a vocabulary of sentencepiece.
            yield Piece(" ", kind="signs")
            yield Piece(turn.answer, learned=True)
            yield Piece(" </s>", learned=True, kind="signs")
        head = "<s>[INST] "


def _llama3(conversation: Conversation) -> Iterator[Piece]:
    system = _LLAMA3_SYSTEM if conversation.system is None else conversation.system
    head = "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
    yield Piece(f"{head}{system}<|eot_id|>", kind="signs")
    for turn in conversation.turns:
        yield Piece(_USER, kind="signs")
        yield from _question(turn.question)
        yield Piece(f"<|eot_id|>{_ASSISTANT}", kind="signs")
        if turn.answer is not None:
            yield Piece(turn.answer, learned=True)
            yield Piece("<|eot_id|>", learned=True, kind="signs")


def _chat(conversation: Conversation, tokenizer: Any) -> Iterator[Piece]:
    """The tokenizer's template around signs that stand for questions and answers."""
    if getattr(tokenizer, "chat_template", None) is None:
        raise ValueError(
            "the tokenizer has no chat template: take template llama2, llama3 or plain"
        )
    messages = []
    if conversation.system is not None:
        messages.append({"role": "system", "content": conversation.system})
    for number, turn in enumerate(conversation.turns):
        messages.append({"role": "user", "content": f"\ue000q{number}\ue001"})
        if turn.answer is not None:
            messages.append({"role": "assistant", "content": f"\ue000a{number}\ue001"})
    written = tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=conversation.turns[-1].answer is None
    )
    # Text, kind, number, text, kind, number, ..., text.
    parts = _PLACE.split(written)
    if parts[1::3] != [m["role"][0].replace("u", "q") for m in messages if m["role"] != "system"]:
        raise ValueError("the tokenizer's chat template does not write every question and answer")
    yield Piece(parts[0], kind="signs")
    for kind, place, after in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        turn = conversation.turns[int(place)]
        if kind == "q":
            yield from _question(turn.question)
            yield Piece(after, kind="signs")
        else:
            yield Piece(str(turn.answer), learned=True)
            end = _end_of_turn(after, tokenizer)
            yield Piece(after[:end], learned=True, kind="signs")
            yield Piece(after[end:], kind="signs")


def _end_of_turn(after: str, tokenizer: Any) -> int:
    """Length of the sign that ends an answer, at the start of what follows it."""
    signs = sorted(special_signs(tokenizer), key=len, reverse=True)
    found = re.match(rf"\s*(?:{'|'.join(map(re.escape, signs))})", after) if signs else None
    if found is None:
        raise ValueError(
            "the tokenizer's chat template ends no answer by a special token: the model could not"
            " learn to stop; take template llama2 or llama3"
        )
    return found.end()


def special_signs(tokenizer: Any) -> set[str]:
    """Texts that a tokenizer reads as signs: ends of turns, padding."""
    added = {str(t) for t in tokenizer.added_tokens_decoder.values() if t.special}
    return {sign for sign in {*tokenizer.all_special_tokens, *added} if sign}


def _question(text: str) -> Iterator[Piece]:
    for number, part in enumerate(text.split(IMAGE)):
        if number:
            yield Piece(IMAGE, kind="image")
        if part:
            yield Piece(part)


def _is_messages(value: Sequence[Any]) -> bool:
    return all(isinstance(each, Mapping) for each in value)


def _from_pairs(pairs: Sequence[Any]) -> Conversation:
    return Conversation(tuple(turn if isinstance(turn, Turn) else Turn(*turn) for turn in pairs))


def _from_messages(messages: Sequence[Mapping[str, Any]]) -> Conversation:
    """Roles alternate; the first may be the system's."""
    roles = {"human": "user", "gpt": "assistant"}
    said = []
    for message in messages:
        role = message.get("role", message.get("from"))
        said.append((roles.get(str(role), role), message.get("content", message.get("value"))))
    system = said.pop(0)[1] if said and said[0][0] == "system" else None
    expected = ["user", "assistant"] * len(said)
    if [role for role, _ in said] != expected[: len(said)]:
        raise ValueError(
            f"messages of {', '.join(str(role) for role, _ in said)}: a user and an assistant have"
            " to take turns, the user first"
        )
    texts = [str(text) for _, text in said]
    answers: list[str | None] = [*texts[1::2], *([None] if len(texts) % 2 else [])]
    turns = tuple(Turn(q, a) for q, a in zip(texts[::2], answers, strict=True))
    return Conversation(turns, system=system)
