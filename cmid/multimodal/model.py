"""A language model that sees: image tower, perceiver and language model in one."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from cmid.multimodal.answering import (
    AnsweringConfig,
    generation_arguments,
    read_answer,
    stream_text,
)
from cmid.multimodal.conversation import Conversation
from cmid.multimodal.images import Fit, as_pixels, fit_image
from cmid.multimodal.losses import Average, Shared, answer_loss
from cmid.multimodal.perceiver import Perceiver, Seen
from cmid.multimodal.splicing import Side, Spliced, splice
from cmid.multimodal.tokens import IGNORED, ConversationEncoder
from cmid.multimodal.tower import LevelTower


@dataclass(frozen=True)
class Batch:
    """Conversations ready to be read.

    Attributes:
        ids, labels: ``(L_i,)`` of each conversation, see `cmid.multimodal.tokens.Encoded`.
        images: ``(I, C, size, size)``.
        order: number of the image at each place; None: they come once each, in their order.
        segments: ``(L_i,)`` each, see `cmid.multimodal.splicing.share_prefix`.
    """

    ids: list[Tensor]
    labels: list[Tensor]
    images: Tensor
    order: list[int] | None = None
    segments: list[Tensor] | None = None


@dataclass(frozen=True)
class Output:
    """Of a forward pass.

    Attributes:
        loss: scalar, with a gradient. parts: its terms, ``language`` and ``balance``.
        logits: ``(B, L, V)``, or of the ``N`` places before a learned token alone, ``(N, V)``.
        spliced: what the language model read.
    """

    loss: Tensor
    parts: dict[str, Tensor]
    logits: Tensor
    spliced: Spliced


class MultimodalModel(nn.Module):
    """Answers questions about images.

    Args:
        tower: gives levels of an image.
        perceiver: makes visual tokens of them, as wide as the language model's embeddings.
        language: a causal language model of transformers, with or without an adapter of peft.
        encoder: writes conversations for it.
        fit: how an image becomes the tower's square.
        language_name: where the language model can be had.
        keeps_language: its own weights are this model's, and are saved with it.
        language_dtype: floating type that it was asked for; None is that of its weights.
        language_trained: its own weights have learned something.

    Raises:
        ValueError: the perceiver's tokens have another width than the language model's.
    """

    def __init__(
        self,
        tower: LevelTower,
        perceiver: Perceiver,
        language: Any,
        encoder: ConversationEncoder,
        *,
        fit: Fit = "squash",
        language_name: str = "",
        keeps_language: bool = True,
        language_dtype: str | None = None,
        language_trained: bool = True,
    ) -> None:
        super().__init__()
        width = language.get_input_embeddings().embedding_dim
        if perceiver.out_width != width:
            raise ValueError(
                f"visual tokens have {perceiver.out_width} features, the language model takes"
                f" {width}: it is not the one that the perceiver was trained for"
            )
        self.tower, self.perceiver, self.language = tower, perceiver, language
        self.encoder, self.fit = encoder, fit
        self.language_name, self.keeps_language = language_name, keeps_language
        self.language_dtype, self.language_trained = language_dtype, language_trained

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.perceiver.queries.device

    def batch(self, conversations: Sequence[Any], images: Sequence[Any] | None = None) -> Batch:
        """Conversations as numbers, and their images as the tower takes them.

        Args:
            conversations: whatever `Conversation.of` takes.
            images: of each conversation none (None), one, or a list; what
                `cmid.multimodal.images.as_pixels` takes.

        Raises:
            ValueError: as `Conversation.of`; also images of other bands.
        """
        groups = [_as_list(each) for each in _of_each(conversations, images)]
        encoded = [
            self.encoder.encode(Conversation.of(each, images=len(group)))
            for each, group in zip(conversations, groups, strict=True)
        ]
        squares = [
            fit_image(as_pixels(image, bands=self.tower.bands), self.tower.size, self.fit)
            for group in groups
            for image in group
        ]
        empty = torch.zeros(0, self.tower.bands, self.tower.size, self.tower.size)
        return Batch(
            [each.ids for each in encoded],
            [each.labels for each in encoded],
            torch.stack(squares) if squares else empty,
        )

    def see(self, images: Tensor, *, counted: bool = True) -> Seen:
        """Visual tokens ``(I, T, D)`` of ``(I, C, size, size)`` images, and the balance loss.

        Args:
            counted: see `cmid.multimodal.experts.Experts.forward`.
        """
        trained = any(parameter.requires_grad for parameter in self.tower.parameters())
        with torch.set_grad_enabled(torch.is_grad_enabled() and trained):
            levels = self.tower(images.to(self.device))
        return self.perceiver.read(
            [level.tokens for level in levels],
            [level.grid for level in levels],
            counted=counted,
        )

    def language_inputs(self, spliced: Spliced) -> dict[str, Tensor]:
        """What the language model's ``forward`` takes."""
        inputs = {"inputs_embeds": spliced.embeds, "attention_mask": spliced.attention_mask}
        base = self.language.get_base_model() if hasattr(self.language, "peft_config") else None
        # Learned positions are wrong in a padded batch without them; some models have none at all.
        if "position_ids" in inspect.signature((base or self.language).forward).parameters:
            inputs["position_ids"] = spliced.positions
        return inputs

    def forward(
        self,
        batch: Batch,
        *,
        average: Average = "tokens",
        shared: Shared | None = None,
        whole: bool = True,
    ) -> Output:
        """The loss over what is learned; without any, 0.

        Args:
            average, shared: see `answer_loss`.
            whole: all logits; otherwise those that the loss needs, the same in less time and memory
                (a vocabulary of 128,000 is a gigabyte for 2,000 tokens).
        """
        spliced, balance, unused = self._read(batch)
        places = None if whole else F.pad(spliced.labels[:, 1:] != IGNORED, (0, 1))
        with _head_at(self.language, places):
            logits = self.language(**self.language_inputs(spliced), use_cache=False).logits
        logits = logits if whole else logits[0]
        language = answer_loss(
            logits, spliced.labels, average=average, shared=shared, segments=spliced.segments
        )
        parts = {"language": language, "balance": balance}
        return Output(language + balance + unused, parts, logits, spliced)

    def generate(
        self,
        conversations: Sequence[Any],
        images: Sequence[Any] | None = None,
        *,
        batch_size: int = 16,
        **options: Any,
    ) -> list[str]:
        """Answer the last question of each conversation.

        Args:
            conversations, images: see `batch`; a last answer, where there is one, is left out.
            batch_size: conversations that are answered together; no answer depends on it.
            **options: of `AnsweringConfig`.

        Raises:
            ValueError: as `batch`; also a prompt that leaves no room for an answer.
        """
        found = self.sample(conversations, images, count=1, batch_size=batch_size, **options)
        return [answers[0] for answers in found]

    def sample(
        self,
        conversations: Sequence[Any],
        images: Sequence[Any] | None = None,
        *,
        count: int,
        batch_size: int = 16,
        **options: Any,
    ) -> list[list[str]]:
        """Draw several answers to the last question of each conversation; images are read once.

        Args:
            conversations, images, options: see `generate`.
            count: answers to each; more than one need a temperature.
            batch_size: conversations that are answered together; what is drawn depends on it.
        """
        config = AnsweringConfig(**options)
        groups = _of_each(conversations, images)
        if len(groups) != len(conversations):
            raise ValueError(f"images of {len(groups)} conversations, of which there are"
                             f" {len(conversations)}")  # fmt: skip
        answers: list[list[str]] = []
        for first in range(0, len(conversations), batch_size):
            part = slice(first, first + batch_size)
            with self._answering(config):
                run = self._prepared(conversations[part], groups[part], config)
                written = run(num_return_sequences=count).tolist()
            said = [read_answer(ids, config, self.encoder) for ids in written]
            answers += [said[k : k + count] for k in range(0, len(said), count)]
        return answers

    def stream(self, conversation: Any, images: Any = None, **options: Any) -> Iterator[str]:
        """Parts of one answer, as they are written; see `generate`.

        Raises:
            ValueError: as `generate`; also several beams, of which none is sure before the end.
        """
        config = AnsweringConfig(**options)
        if config.beams > 1:
            raise ValueError(f"beams {config.beams}: an answer that is streamed has 1")
        with self._answering(config):
            run = self._prepared([conversation], [images], config)
            yield from stream_text(run, config, self.encoder)

    def train(self, mode: bool = True) -> MultimodalModel:
        """Frozen parts stay in evaluation mode: no dropout, and BatchNorm keeps its statistics."""
        super().train(mode)
        for part in (self.tower, self.perceiver, self.language):
            if not any(parameter.requires_grad for parameter in part.parameters()):
                part.eval()
                for module in part.modules() if mode else ():
                    # transformers recomputes in training mode only; its dropout stays off.
                    if getattr(module, "gradient_checkpointing", False):
                        module.training = True
        return self

    def _read(self, batch: Batch, *, side: Side = "right") -> tuple[Spliced, Tensor, Tensor]:
        """Text and images together, the balance loss, and 0 with a gradient to what saw nothing."""
        zero = torch.zeros((), device=self.device)
        balance, unused, visual = zero, zero, []
        if len(batch.images):
            seen = self.see(batch.images)
            order = range(len(seen.tokens)) if batch.order is None else batch.order
            visual, balance = [seen.tokens[number] for number in order], seen.balance
        elif self.training or isinstance(self, FSDPModule):
            # Several processes await gradients of all parameters, also where a batch has no images;
            # those that share the weights, that all gather them.
            blank = torch.zeros(1, self.tower.bands, self.tower.size, self.tower.size)
            self.tower.eval()  # statistics of BatchNorm are those of images
            seen = self.see(blank, counted=False)
            unused, balance = 0 * seen.tokens.sum(), seen.balance
            self.train(self.training)
        embed = self.language.get_input_embeddings()
        spliced = splice(
            batch.ids,
            batch.labels,
            visual,
            lambda ids: embed(ids.to(self.device)),
            side=side,
            segments=batch.segments,
        )
        return spliced, balance, unused

    def _prepared(
        self, conversations: Sequence[Any], images: Sequence[Any], config: AnsweringConfig
    ) -> Any:
        groups = [_as_list(each) for each in images]
        prompts = [
            Conversation.of(each, images=len(group)).prompt
            for each, group in zip(conversations, groups, strict=True)
        ]
        spliced, _, _ = self._read(self.batch(prompts, groups), side="left")
        room = getattr(self.language.config, "max_position_embeddings", None)
        if room is not None and spliced.mask.shape[1] + config.max_tokens > room:
            raise ValueError(
                f"a conversation of {spliced.mask.shape[1]} tokens and max_tokens"
                f" {config.max_tokens} exceed the {room} of the language model: shorten either"
            )
        return partial(
            self.language.generate,
            inputs_embeds=spliced.embeds,
            attention_mask=spliced.mask,
            **generation_arguments(config, self.encoder),
        )

    @contextmanager
    def _answering(self, config: AnsweringConfig) -> Iterator[None]:
        """Evaluation mode without gradients; what is drawn follows the seed, if there is one."""
        mode = self.training
        self.eval()
        devices = [self.device] if self.device.type == "cuda" else []
        try:
            with torch.no_grad(), torch.random.fork_rng(devices, enabled=config.seed is not None):
                if config.seed is not None:
                    torch.manual_seed(config.seed)
                yield
        finally:
            self.train(mode)


@contextmanager
def _head_at(language: Any, places: Tensor | None) -> Iterator[None]:
    """Let a language model's head see ``(B, L)`` places alone, as one row; None: all of them."""
    if places is None:
        yield
        return
    chosen = places.flatten().nonzero()[:, 0]

    def select(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (inputs[0].flatten(0, 1).index_select(0, chosen)[None],)

    handle = language.get_output_embeddings().register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()


def _of_each(conversations: Sequence[Any], images: Sequence[Any] | None) -> list[Any]:
    """Images of each conversation; raises ValueError for one text in the place of several."""
    if isinstance(conversations, str):  # whose letters would be asked one by one
        raise ValueError(f"one text {conversations[:40]!r}, not a list: give [text], [image]")
    if images is None or len(images) == 0:
        return [None] * len(conversations)
    return list(images)


def _as_list(images: Any) -> list[Any]:
    if images is None:
        return []
    return list(images) if isinstance(images, list | tuple) else [images]
