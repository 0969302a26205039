"""Tokenizers, and conversations as token numbers with what is learned of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from cmid.checkpoints.hugging_face import check_gguf, check_tokenizer
from cmid.multimodal.conversation import (
    Conversation,
    Piece,
    Template,
    Turn,
    render,
    special_signs,
)

IMAGE_ID = -200
"""Stands among token numbers where an image's visual tokens go."""
IGNORED = -100
"""Label of what is not learned."""
_KEPT = 1 << 14  # conversations whose numbers are kept: short ones come again and again
# Of our own tokenizers.
_SIGNS = {"pad_token": "<|pad|>", "bos_token": "<|start|>", "eos_token": "<|end|>"}
_ROLES = ["<|system|>", "<|user|>", "<|assistant|>"]
_CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>{{ message.content }}"
    "{% if message.role != 'user' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def import_transformers() -> ModuleType:
    """transformers, or the error that says how to get it."""
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "multimodal models need transformers: pip install 'cmid[multimodal]'"
        ) from error
    return transformers


def load_tokenizer(spec: str, *, texts: Sequence[str] | None = None) -> Any:
    """A fast tokenizer of transformers with a token for padding.

    Args:
        spec: a folder, a name on the hub, a GGUF file, ``bytes`` (one token a byte), or ``bpe:N``
            (N tokens, learned from ``texts``).
        texts: what ``bpe:N`` learns from.

    Raises:
        ModuleNotFoundError: transformers is not installed.
        OSError: no such folder or name.
        ValueError: not a fast one, or nothing to learn from.
    """
    transformers = import_transformers()
    if spec == "bytes" or spec.startswith("bpe:"):
        number = "0" if spec == "bytes" else spec[4:]
        if not number.isdecimal():
            raise ValueError(f"tokenizer {spec!r}: give a number of tokens, such as bpe:768")
        return _train_tokenizer(int(number), texts)
    path = Path(spec)
    if path.suffix == ".gguf":
        check_gguf(path)
        tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        _mend_end(tokenizer)
    else:
        tokenizer = transformers.AutoTokenizer.from_pretrained(check_tokenizer(spec))
    if not tokenizer.is_fast:
        raise ValueError(
            f"{spec} has no fast tokenizer (tokenizer.json), which tells where tokens are"
        )
    if tokenizer.pad_token_id is None:
        # Padding is masked, so that any number serves.
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    return tokenizer


def _mend_end(tokenizer: Any) -> None:
    """Let texts end as the chat template ends answers, where they would end as they start.

    transformers takes one token of a GGUF file for both, if its vocabulary is of GPT-2's kind.
    """
    if tokenizer.chat_template is not None and tokenizer.eos_token == tokenizer.bos_token:
        tokenizer.eos_token = _end_sign(tokenizer)
        tokenizer.pad_token = tokenizer.eos_token


def _end_sign(tokenizer: Any) -> str:
    """The sign that ends an answer in the tokenizer's own chat template."""
    pieces = render(Conversation((Turn("q", "a"),)), "chat", tokenizer=tokenizer)
    return next(p.text for p in pieces if p.learned and p.kind == "signs").strip()


def _train_tokenizer(size: int, texts: Sequence[str] | None) -> Any:
    try:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "tokenizers of our own need tokenizers: pip install 'cmid[multimodal]'"
        ) from error
    if size and not texts:
        raise ValueError(f"tokenizer bpe:{size} is learned from texts: there are none")
    special = [*_SIGNS.values(), *_ROLES]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    least = len(special) + len(alphabet)
    if size and size < least:
        raise ValueError(f"tokenizer bpe:{size} is smaller than {least}, its bytes and signs alone")
    tokenizer: Any = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size or least,
        special_tokens=special,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts or [], trainer)
    return import_transformers().PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        additional_special_tokens=_ROLES,
        chat_template=_CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        **_SIGNS,
    )


@dataclass(frozen=True)
class TemplateConfig:
    """How conversations are written.

    Attributes:
        name: of a template, see `cmid.multimodal.conversation.render`.
        double_start: ``llama3`` with two begin-of-text tokens, as released weights were trained.
        end_captions: ``plain`` with an end token, which the published one lacks: a model of stage 1
            would not learn to stop.
    """

    name: Template = "chat"
    double_start: bool = False
    end_captions: bool = True


@dataclass(frozen=True)
class Encoded:
    """A conversation in numbers.

    Attributes:
        ids: ``(L,)`` token numbers, `IMAGE_ID` at images.
        labels: ``(L,)`` the same where learned, else `IGNORED`.
    """

    ids: Tensor
    labels: Tensor

    @property
    def num_images(self) -> int:
        """Places of images."""
        return int((self.ids == IMAGE_ID).sum())


class ConversationEncoder:
    """Writes conversations for a language model.

    What is learned is known while a conversation is written; texts between images are read by the
    tokenizer as a whole, and a token is learned if a letter of it is.
    """

    def __init__(self, tokenizer: Any, template: TemplateConfig = TemplateConfig()) -> None:
        self.tokenizer, self.template = tokenizer, template
        self.signs = special_signs(tokenizer)
        self._kept = lru_cache(_KEPT)(self._encode)

    def encode(self, conversation: Conversation) -> Encoded:
        """Token numbers and labels; nothing is learned of a conversation without its last answer.

        Equal conversations share their tensors, which nothing may write to.

        Raises:
            ValueError: the template cannot write it.
        """
        return self._kept(conversation)

    def _encode(self, conversation: Conversation) -> Encoded:
        pieces = render(conversation, self.template.name, tokenizer=self.tokenizer)
        ids, labels = self._start(pieces), []
        labels += [IGNORED] * len(ids)
        for chunk in _between_images(pieces):
            if chunk is None:
                ids.append(IMAGE_ID)
                labels.append(IGNORED)
                continue
            tokens, learned = self._read(chunk)
            ids += tokens
            labels += [t if use else IGNORED for t, use in zip(tokens, learned, strict=True)]
        answered = conversation.turns[-1].answer is not None
        end = self.tokenizer.eos_token_id
        if answered and self.template.name == "plain" and self.template.end_captions:
            if end is None:
                raise ValueError("the tokenizer has no end token: set template.end_captions=false")
            ids.append(end)
            labels.append(end)
        return Encoded(torch.tensor(ids), torch.tensor(labels))

    def shorten(
        self, conversation: Conversation, *, limit: int, visual: int
    ) -> Conversation | None:
        """Leave out leading turns until a conversation fits.

        Args:
            limit: tokens that it may have.
            visual: tokens of an image.

        Returns:
            None where its last turn alone is too long: count and report it.
        """
        while True:
            encoded = self.encode(conversation)
            if len(encoded.ids) + encoded.num_images * (visual - 1) <= limit:
                return conversation
            if len(conversation.turns) == 1:
                return None
            conversation = conversation.without_first_turn()

    @property
    def ends(self) -> list[int]:
        """Token numbers that end an answer."""
        sign = self._numbers(self._sign)
        return sorted({self.tokenizer.eos_token_id, *(sign if len(sign) == 1 else ())} - {None})

    @property
    def stops(self) -> list[str]:
        """Texts that end an answer where no single token does."""
        return [] if len(self._numbers(self._sign)) == 1 else [self._sign]

    @property
    def _sign(self) -> str:
        if self.template.name != "chat":
            return {"llama2": "</s>", "llama3": "<|eot_id|>"}.get(self.template.name, "\n")
        return _end_sign(self.tokenizer)

    def _numbers(self, sign: str) -> list[int]:
        if sign not in self.signs:
            return []
        return self.tokenizer(sign, add_special_tokens=False)["input_ids"]

    def _start(self, pieces: Sequence[Piece]) -> list[int]:
        """One token in front of all, where the template does not write it."""
        tokenizer, name = self.tokenizer, self.template.name
        if name == "chat" or tokenizer.bos_token_id is None:
            return []
        written = pieces[0].text.startswith(tokenizer.bos_token)
        return [tokenizer.bos_token_id] if not written or self.template.double_start else []

    def _read(self, chunk: Sequence[Piece]) -> tuple[list[int], list[bool]]:
        text, spans = "", []
        for piece in chunk:
            written = self._as_words(piece.text) if piece.kind == "words" else piece.text
            if piece.learned and written:
                spans.append((len(text), len(text) + len(written)))
            text += written
        read = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        learned = [
            any(first < end and start < max(last, first + 1) for start, end in spans)
            for first, last in read["offset_mapping"]
        ]
        return read["input_ids"], learned

    def _as_words(self, text: str) -> str:
        for sign in self.signs:
            text = text.replace(sign, f"{sign[:1]} {sign[1:]}")
        return text


def _between_images(pieces: Sequence[Piece]) -> Iterator[list[Piece] | None]:
    """Texts between images, None for each image."""
    chunk: list[Piece] = []
    for piece in pieces:
        if piece.kind != "image":
            chunk.append(piece)
            continue
        if chunk:
            yield chunk
        yield None
        chunk = []
    if chunk:
        yield chunk
