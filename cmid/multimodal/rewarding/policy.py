"""A multimodal model as TRL's trainer takes models: by token numbers and pixels.

TRL holds a prompt as token numbers, in which every visual token has a place. `IMAGE_ID` stands at
these places: no tokenizer writes it, and no model can draw it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cmid.files import scratch_folder
from cmid.multimodal.conversation import Conversation
from cmid.multimodal.folder import CONFIG_FILE, load, load_encoder, read_config, save_model
from cmid.multimodal.images import as_pixels, fit_image
from cmid.multimodal.language import LanguageConfig, has_adapter
from cmid.multimodal.model import MultimodalModel
from cmid.multimodal.splicing import Spliced
from cmid.multimodal.stages import StageConfig, begin_stage
from cmid.multimodal.tokens import IMAGE_ID, import_transformers


class Reader(nn.Module):
    """All of a multimodal model but the head over words: what TRL calls the backbone."""

    def __init__(self, multimodal: MultimodalModel) -> None:
        super().__init__()
        self.multimodal = multimodal

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        pixel_values: Tensor | None = None,
        **options: Any,
    ) -> Any:
        """Hidden states ``(B, L, D)`` as ``last_hidden_state``; see `read`."""
        language: Any = self.multimodal.language
        base = language.get_base_model() if has_adapter(language) else language
        return base.base_model(**self.read(input_ids, attention_mask, pixel_values), **options)

    def read(
        self, input_ids: Tensor, attention_mask: Tensor, pixel_values: Tensor | None = None
    ) -> dict[str, Tensor]:
        """What the language model takes.

        Args:
            input_ids: ``(B, L)``, padded on either side; `IMAGE_ID` at every visual token.
            attention_mask: ``(B, L)``, 0 at padding.
            pixel_values: ``(I, C, size, size)`` images in the order of their places.
        """
        model = self.multimodal
        place = input_ids == IMAGE_ID
        embeds = model.language.get_input_embeddings()(input_ids.masked_fill(place, 0))
        if pixel_values is not None:
            # Of a group of answers, all are about one image.
            flat, where = pixel_values.flatten(1).unique(dim=0, return_inverse=True)
            seen = model.see(flat.view(-1, *pixel_values.shape[1:])).tokens[where]
            embeds = embeds.masked_scatter(place[..., None], seen.to(embeds))
        positions = (attention_mask.cumsum(dim=1) - 1).clamp(min=0)
        spliced = Spliced(embeds, input_ids, attention_mask, positions, place.long() - 1)
        return model.language_inputs(spliced)


@cache
def policy_class() -> type[Any]:
    """The class of models that TRL trains; transformers is imported for it."""
    transformers = import_transformers()
    output_class = transformers.modeling_outputs.CausalLMOutput

    class PolicyConfig(transformers.PretrainedConfig):  # type: ignore[name-defined]
        model_type = "cmid_multimodal"

        def __init__(self, text_config: Any = None, **options: Any) -> None:
            self.text_config, self.image_token_id = text_config, IMAGE_ID
            super().__init__(**options)

    class Policy(transformers.PreTrainedModel):  # type: ignore[name-defined]
        config_class = PolicyConfig
        base_model_prefix = "model"
        main_input_name = "input_ids"
        supports_gradient_checkpointing = True

        def __init__(
            self, multimodal: MultimodalModel, *, name: str, provenance: Mapping[str, Any]
        ) -> None:
            language, encoder = multimodal.language, multimodal.encoder
            super().__init__(PolicyConfig(language.config, name_or_path=name))
            self.model, self.provenance = Reader(multimodal), dict(provenance)
            self.generation_config = transformers.GenerationConfig(
                eos_token_id=encoder.ends, pad_token_id=encoder.tokenizer.pad_token_id
            )

        @classmethod
        def from_pretrained(
            cls,
            name: str | Path,
            *,
            trained: Sequence[str] | None = None,
            language_model: str | Mapping[str, Any] | None = None,
            **_: Any,
        ) -> Any:
            """Open a folder of `save_model`; parts that are not ``trained`` are frozen."""
            model = load(name, _language(language_model), trainable=True)
            default = ("adapter",) if has_adapter(model.language) else ("language",)
            begin_stage(model, StageConfig(trained=tuple(trained or default)))  # type: ignore[arg-type]
            return cls(model, name=str(name), provenance=read_config(name)["provenance"])

        def save_pretrained(self, folder: str | Path, **_: Any) -> None:
            """Write a folder that `cmid.multimodal.load` reads."""
            folder = Path(folder)
            folder.mkdir(parents=True, exist_ok=True)
            with scratch_folder(folder) as scratch:
                new = save_model(self.model.multimodal, scratch / "new", provenance=self.provenance)
                # Other processes may have written to a checkpoint before this one.
                for part in sorted(new.iterdir(), key=lambda part: part.name == CONFIG_FILE):
                    if (folder / part.name).is_dir():
                        shutil.rmtree(folder / part.name)
                    part.replace(folder / part.name)

        def get_input_embeddings(self) -> nn.Module:
            found: nn.Module = self.model.multimodal.language.get_input_embeddings()
            return found

        def get_output_embeddings(self) -> nn.Module:
            found: nn.Module = self.model.multimodal.language.get_output_embeddings()
            return found

        def train(self, mode: bool = True) -> Any:
            """What sees stays in evaluation mode: the answers were drawn from what it saw there."""
            super().train(mode)
            self.model.multimodal.tower.eval()
            self.model.multimodal.perceiver.eval()
            return self

        def forward(
            self,
            input_ids: Tensor,
            attention_mask: Tensor,
            pixel_values: Tensor | None = None,
            **options: Any,
        ) -> Any:
            inputs = self.model.read(input_ids, attention_mask, pixel_values)
            found = self.model.multimodal.language(**inputs, use_cache=False)
            return output_class(logits=found.logits)

        @torch.no_grad()
        def generate(
            self,
            input_ids: Tensor,
            attention_mask: Tensor,
            pixel_values: Tensor | None = None,
            generation_config: Any = None,
            **options: Any,
        ) -> Tensor:
            """Prompts with what is written behind them, ``(B, L + N)``."""
            mode = self.training
            self.eval()
            try:
                inputs = self.model.read(input_ids, attention_mask, pixel_values)
                inputs.pop("position_ids", None)  # transformers counts on
                written = self.model.multimodal.language.generate(
                    **inputs,
                    generation_config=generation_config or self.generation_config,
                    use_model_defaults=False,
                    **options,
                )
            finally:
                self.train(mode)
            return torch.cat([input_ids, written], dim=1)

    return Policy


@dataclass(frozen=True)
class Opening:
    """How TRL opens a policy, and its reference, where it is told to take this architecture.

    Attributes:
        trained: parts that learn, see `cmid.multimodal.stages.StageConfig`.
    """

    trained: tuple[str, ...] | None = None

    def from_pretrained(self, name: str, **options: Any) -> Any:
        """A policy of a folder of `save_model`."""
        return policy_class().from_pretrained(name, trained=self.trained, **options)


@cache
def _processor_class() -> type[Any]:
    transformers = import_transformers()

    class PolicyProcessor(transformers.ProcessorMixin):  # type: ignore[name-defined]
        def __init__(self, folder: str, language_model: Any) -> None:
            about = read_config(folder)
            self.encoder = load_encoder(folder, _language(language_model))
            self.tokenizer = self.encoder.tokenizer
            self.bands = len(about["tower"]["statistics"]["mean"])
            self.size, self.fit = about["tower"]["size"], about["fit"]
            self.visual = sum(about["perceiver"]["queries"])

        def apply_chat_template(
            self, conversation: Any, *, tokenize: bool = False, **_: Any
        ) -> Any:
            """Prompts as lists of token numbers, and their images; no text is ever read again."""
            if not tokenize:
                return ""
            images = [_images(messages) for messages in conversation]
            ids = [
                self._ids(messages, len(own))
                for messages, own in zip(conversation, images, strict=True)
            ]
            mask = [[1] * len(own) for own in ids]
            return {"input_ids": ids, "attention_mask": mask, **self(images=images)}

        def __call__(self, images: Any = None, text: Any = None, **_: Any) -> dict[str, Tensor]:
            """``pixel_values`` ``(I, C, size, size)`` of a list of images for each prompt."""
            squares = [
                fit_image(as_pixels(image, bands=self.bands), self.size, self.fit)
                for own in images or []
                for image in own or []
            ]
            return {"pixel_values": torch.stack(squares)} if squares else {}

        def save_pretrained(self, folder: Any, **_: Any) -> None:
            """The model's folder has all that is needed."""

        def _ids(self, messages: Any, images: int) -> list[int]:
            texts = [{"role": m["role"], "content": _text(m)} for m in messages]
            encoded = self.encoder.encode(Conversation.of(texts, images=images))
            places = torch.where(encoded.ids == IMAGE_ID, self.visual, 1)
            ids: list[int] = encoded.ids.repeat_interleave(places).tolist()
            return ids

    return PolicyProcessor


def open_processor(folder: str, language_model: Any = None) -> Any:
    """What writes prompts of a model's folder for TRL.

    Raises:
        ValueError: no token of the tokenizer ends an answer, so that TRL would not see its end.
    """
    processor = _processor_class()(folder, language_model)
    if processor.encoder.stops or not processor.encoder.ends:
        raise ValueError(
            f"{folder} ends answers by letters, not by a token: take a template that has one"
            " (train_multimodal with --model.stage.template.name)"
        )
    return processor


def _language(given: Any) -> str | LanguageConfig | None:
    return LanguageConfig(**given) if isinstance(given, Mapping) else given


def _parts(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _images(messages: Sequence[Mapping[str, Any]]) -> list[Any]:
    return [p["image"] for m in messages for p in _parts(m) if p["type"] == "image"]


def _text(message: Mapping[str, Any]) -> str:
    return "".join(part["text"] for part in _parts(message) if part["type"] == "text")
