"""A scorer on a vision-language model of Hugging Face, as ScoreRS is (arXiv:2503.00743)."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cmid.checkpoints.hugging_face import check_model
from cmid.precision import full_precision
from cmid.vision_language.scoring.scorer import LearnedScorer


def import_transformers() -> ModuleType:
    """transformers, or the error that says how to get it."""
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "scorers on language models need transformers: pip install 'cmid[vision-language]'"
        ) from error
    return transformers


def read_processor(name: str, **options: Any) -> Any:
    """The processor of a folder or of the hub; images are resized by torchvision, not by PIL."""
    return import_transformers().AutoProcessor.from_pretrained(name, use_fast=True, **options)


class LanguageModelScorer(LearnedScorer):
    """A linear map of what the model holds at the end of a conversation about an image.

    The user gives the image and then the question, which a caption has not; the assistant gives
    the text. The score is read, raw and in float32, from the last normed hidden state of the last
    real token. That token is found by the attention mask: padding may be of any kind, on any side.

    Args:
        model: without a head over words, as ``AutoModel`` gives it (Qwen2-VL, Qwen2.5-VL, Qwen3-VL
            and others): takes what the processor gives, and gives ``last_hidden_state``.
        processor: the processor of that model with its chat template; its settings bound the size
            of images.
    """

    def __init__(self, model: nn.Module, processor: Any) -> None:
        super().__init__()
        self.model, self.processor = model, processor
        config: Any = model.config
        self.head = nn.Linear(config.get_text_config().hidden_size, 1, bias=False)

    @classmethod
    def from_pretrained(cls, name: str, **options: Any) -> LanguageModelScorer:
        """A new head on the model of a folder or of the hub.

        Args:
            name: folder, or name on the hub.
            options: arguments of ``AutoModel.from_pretrained``, as ``dtype``.

        Raises:
            ModuleNotFoundError: transformers is not installed.
            OSError, ValueError: no such model, or one of another kind.
        """
        model = import_transformers().AutoModel.from_pretrained(check_model(name), **options)
        return cls(model, read_processor(name))

    @property
    def trunk(self) -> nn.Module:
        return self.model

    def towers(self) -> dict[str, list[nn.Module]]:
        """See `LearnedScorer.towers`; what lies between the two belongs to the vision tower.

        Raises:
            ValueError: it is not known which part of the model reads.
        """
        parts = dict(self.model.named_children())
        if "language_model" not in parts:
            raise ValueError(f"{type(self.model).__name__} has no part language_model")
        return {"language": [parts.pop("language_model")], "vision": [*parts.values()]}

    def blocks(self) -> list[nn.Module]:
        """The blocks of its towers, each of which stays on one device (transformers says so)."""
        parts = [*self.model.modules()]
        kinds = {name for part in parts for name in getattr(part, "_no_split_modules", None) or ()}
        return [part for part in parts if type(part).__name__ in kinds]

    def forward(
        self, images: Sequence[Tensor | None], texts: Sequence[str], questions: Sequence[str]
    ) -> Tensor:
        """Scores ``(B,)`` with a gradient; see `Scorer.score`."""
        if not len(texts):
            return self.head.weight.new_zeros(0)
        inputs = self.inputs(images, texts, questions).to(self.head.weight.device)
        hidden = self.model(**inputs, use_cache=False).last_hidden_state  # (B, L, D)
        return read_score(hidden, inputs["attention_mask"], self.head.weight)

    def inputs(
        self, images: Sequence[Tensor | None], texts: Sequence[str], questions: Sequence[str]
    ) -> Any:
        """What the model takes: the one way to write a pair, for training and for use."""
        chats = [
            self._chat(image, text, question)
            for image, text, question in zip(images, texts, questions, strict=True)
        ]
        return self.processor(
            text=self.processor.apply_chat_template(chats, tokenize=False),
            images=[image.cpu() for image in images if image is not None] or None,
            input_data_format="channels_first",
            padding=True,
            return_tensors="pt",
        )

    def _chat(self, image: Tensor | None, text: str, question: str) -> list[dict[str, Any]]:
        user: list[dict[str, str]] = [] if image is None else [{"type": "image"}]
        if question:
            user.append({"type": "text", "text": as_words(question, self.processor.tokenizer)})
        answer = [{"type": "text", "text": as_words(text, self.processor.tokenizer)}]
        return [{"role": "user", "content": user}, {"role": "assistant", "content": answer}]


def as_words(text: str, tokenizer: Any) -> str:
    """Text in which nothing is a sign of the tokenizer: an image's place, a turn's end."""
    added = [str(t) for t in tokenizer.added_tokens_decoder.values() if t.special]
    for sign in {*tokenizer.all_special_tokens, *added}:
        text = text.replace(sign, f"{sign[:1]} {sign[1:]}")
    return text


def read_score(hidden: Tensor, attention_mask: Tensor, weight: Tensor) -> Tensor:
    """Scores at the last real tokens, raw, in float32.

    Args:
        hidden: ``(B, L, D)``.
        attention_mask: ``(B, L)``, not 0 at real tokens.
        weight: ``(1, D)``.

    Returns:
        ``(B,)``.
    """
    place = torch.arange(hidden.shape[1], device=hidden.device)
    last = (attention_mask.bool() * place).argmax(dim=1)  # (B,)
    with full_precision(hidden):
        rows = torch.arange(len(hidden), device=hidden.device)
        return F.linear(hidden[rows, last].float(), weight.float())[:, 0]
