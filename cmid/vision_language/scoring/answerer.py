"""A language model that looks at images and answers: prompts and samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cmid.checkpoints.hugging_face import check_model
from cmid.vision_language.scoring.language_model import (
    as_words,
    import_transformers,
    read_processor,
)

THINK = (
    "Think first, then answer. Write <think>your thought</think><answer>your answer</answer> and"
    " nothing else."
)
Images = Tensor | Sequence[Tensor]
"""Of one question."""
_VISION = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")


class Answerer:
    """An image-text-to-text model of Hugging Face that is asked about images.

    Args:
        model: what ``AutoModelForImageTextToText`` gives.
        processor: its processor with a chat template.
        system: what the system's turn says; empty: the template's own.
    """

    def __init__(self, model: nn.Module, processor: Any, *, system: str = THINK) -> None:
        self.model: Any = model
        self.processor, self.system = processor, system

    @classmethod
    def from_pretrained(
        cls, name: str, *, system: str = THINK, device: str = "cpu", **options: Any
    ) -> Answerer:
        """Load a model from a folder or from the hub.

        Args:
            name: folder, or name on the hub.
            system: what the system's turn says.
            device: where it works.
            options: arguments of ``AutoModelForImageTextToText.from_pretrained``; by default
                weights are float32 on a CPU, and elsewhere of the type that they are stored in.

        Raises:
            ModuleNotFoundError: transformers is not installed.
            OSError, ValueError: no such model, or one of another kind.
        """
        auto = import_transformers().AutoModelForImageTextToText
        kind = {"dtype": torch.float32 if device == "cpu" else "auto"}
        model = auto.from_pretrained(check_model(name), **kind | options).to(device).eval()
        return cls(model, read_processor(name), system=system)

    @torch.no_grad()
    def sample(
        self,
        images: Sequence[Images],
        questions: Sequence[str],
        *,
        count: int,
        temperature: float = 0.95,
        top_p: float = 1.0,
        max_new_tokens: int = 256,
        seed: int = 0,
    ) -> list[list[str]]:
        """Draw answers.

        Args:
            images: ``B`` images ``(3, H, W)`` of any sizes, uint8, or lists of several of one
                question.
            questions: ``B`` questions.
            count: answers to each.
            temperature: of the softmax over words; 0 takes the likeliest word, every time.
            top_p: the likeliest words that hold this share are drawn from.
            max_new_tokens: an answer that is longer is cut.
            seed: the same seed draws the same answers to the same batch.

        Returns:
            ``B`` lists of ``count`` texts.
        """
        inputs = self.inputs(images, questions).to(self.model.device)
        drawn = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            tokens = self.model.generate(
                **inputs,
                **(drawn if temperature > 0 else {"do_sample": False}),
                num_return_sequences=count if temperature > 0 else 1,
                max_new_tokens=max_new_tokens,
                suppress_tokens=vision_tokens(self.model.config),
            )
        said = self.processor.batch_decode(
            tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        each = len(said) // len(questions)
        return [said[k : k + each] * (count // each) for k in range(0, len(said), each)]

    def inputs(
        self,
        images: Sequence[Images],
        questions: Sequence[str],
        answers: Sequence[str] | None = None,
    ) -> Any:
        """What the model takes: prompts, padded on the left, or with answers behind them."""
        groups = [[each] if isinstance(each, Tensor) else [*each] for each in images]
        chats = [
            self.chat(question, images=len(group))
            for question, group in zip(questions, groups, strict=True)
        ]
        texts = self.processor.apply_chat_template(
            chats, tokenize=False, add_generation_prompt=True
        )
        if answers is not None:
            end = self.processor.tokenizer.eos_token
            texts = [f"{text}{answer}{end}" for text, answer in zip(texts, answers, strict=True)]
        return self.processor(
            text=texts,
            images=[image.cpu() for group in groups for image in group],
            input_data_format="channels_first",
            padding=True,
            padding_side="left",
            return_tensors="pt",
        )

    def chat(self, question: str, *, images: int = 1) -> list[dict[str, Any]]:
        """The turns of system and user; images come first, as in training."""
        words = as_words(question, self.processor.tokenizer)
        content = [*[{"type": "image"}] * images, {"type": "text", "text": words}]
        user = {"role": "user", "content": content}
        system = {"role": "system", "content": [{"type": "text", "text": self.system}]}
        return [system, user] if self.system else [user]


def vision_tokens(config: Any) -> list[int]:
    """Tokens that stand for an image's place: a model that writes one waits for an image."""
    found = (getattr(config, name, None) for name in _VISION)
    return [token for token in found if token is not None]
