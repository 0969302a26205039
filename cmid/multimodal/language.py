"""Language models: any causal one of transformers, with or without a low-rank adapter."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from cmid.checkpoints.hugging_face import check_gguf, check_model, check_tokenizer
from cmid.multimodal.tokens import import_transformers

_TINY = re.compile(r"tiny:(\w+):(\d+)x(\d+)$")
_TINY_HEAD = 32
# With less, next to nothing is read from images in the first hundreds of steps.
_TINY_DEVIATION = 0.06
_TINY_POSITIONS = 2048


@dataclass(frozen=True)
class AdapterConfig:
    """A low-rank adapter (LoRA, arXiv:2106.09685) on the linear maps of a language model.

    Attributes:
        rank, alpha: the maps gain ``alpha / rank * B A``, with A and B of this rank.
        dropout: in front of it.
        targets: names of maps, or ``all-linear``: all but the head over words.
    """

    rank: int = 128
    alpha: float = 256
    dropout: float = 0.05
    targets: str | tuple[str, ...] = "all-linear"


@dataclass(frozen=True)
class LanguageConfig:
    """Where a language model comes from.

    Attributes:
        name: a folder, a name on the hub, a GGUF file, or ``tiny:KIND:WIDTHxLAYERS`` for an
            untrained one of any kind that transformers knows (``tiny:llama:128x4``).
        tokenizer: see `cmid.multimodal.tokens.load_tokenizer`; None is that of ``name``, of an
            untrained one ``bpe:512``.
        adapter: train an adapter; the rest of the language model is frozen.
        quantise: bits of the frozen weights, by bitsandbytes.
        dtype: floating type, as ``bfloat16``; None takes float32 for an untrained model, else that
            of the weights.
        seed: random seed of untrained weights.
    """

    name: str = "tiny:llama:128x4"
    tokenizer: str | None = None
    adapter: AdapterConfig | None = None
    quantise: Literal[4, 8] | None = None
    dtype: str | None = None
    seed: int = 0

    @property
    def is_untrained(self) -> bool:
        """Whether the weights can be had nowhere else."""
        return self.name.startswith("tiny:")

    @property
    def tokenizer_spec(self) -> str:
        """`tokenizer` with its default resolved."""
        return self.tokenizer or ("bpe:512" if self.is_untrained else self.name)


def import_peft() -> ModuleType:
    """peft, or the error that says how to get it."""
    try:
        import peft
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("adapters need peft: pip install 'cmid[multimodal]'") from error
    return peft


def check_language(config: LanguageConfig) -> None:
    """Check that a language model and its tokenizer may be there; nothing is read.

    Raises:
        FileNotFoundError: no such folder or file, nor a name that the hub can have.
        ValueError: the folder of a model of another kind.
    """
    if Path(config.name).suffix == ".gguf":
        check_gguf(Path(config.name))
    elif not config.is_untrained:
        check_model(config.name)
    tokenizer = config.tokenizer_spec
    if Path(tokenizer).suffix == ".gguf":
        check_gguf(Path(tokenizer))
    elif tokenizer != "bytes" and not tokenizer.startswith("bpe:"):
        check_tokenizer(tokenizer)


def build_language(config: LanguageConfig, tokenizer: Any) -> nn.Module:
    """A causal language model in evaluation mode, with its adapter if it has one.

    Raises:
        ModuleNotFoundError: transformers, peft or bitsandbytes is not installed.
        OSError: no such model.
        ValueError: an untrained model of an unknown kind, the folder of something else, or a
            tokenizer with more tokens than the model.
    """
    transformers = import_transformers()
    if config.is_untrained:
        if config.quantise:
            raise ValueError("language.quantise is for trained weights, not for an untrained model")
        model = _tiny(config, tokenizer, transformers)
    else:
        model = _pretrained(config, transformers)
    known = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > known:
        raise ValueError(
            f"the tokenizer has {len(tokenizer)} tokens, {config.name} {known}: they are not of one"
            " model"
        )
    model.eval()
    return model if config.adapter is None else add_adapter(model, config.adapter)


def add_adapter(model: nn.Module, config: AdapterConfig) -> nn.Module:
    """The model with a new adapter, which changes nothing yet; its own weights are frozen."""
    peft = import_peft()
    targets: str | Sequence[str] = config.targets
    return peft.get_peft_model(
        model,
        peft.LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=config.dropout,
            target_modules=targets if isinstance(targets, str) else list(targets),
            bias="none",
            task_type="CAUSAL_LM",
        ),
    )


def has_adapter(model: nn.Module) -> bool:
    """Whether it is one of `add_adapter`."""
    return hasattr(model, "peft_config")


def use_attention(model: Any, name: str) -> None:
    """Compute attention as transformers names it: ``eager``, ``sdpa``, ``flash_attention_2``.

    Raises:
        ImportError: its package is not installed.
        ValueError: no such way.
    """
    base = model.get_base_model() if has_adapter(model) else model
    base.set_attn_implementation(name)


def attention_kernels(name: str | None) -> AbstractContextManager[None]:
    """For the other parts: within it torch takes plain products, too, where the name is ``eager``.

    Any other name leaves the choice to torch.
    """
    return sdpa_kernel(SDPBackend.MATH) if name == "eager" else nullcontext()


def _tiny(config: LanguageConfig, tokenizer: Any, transformers: ModuleType) -> Any:
    found = _TINY.match(config.name)
    if found is None:
        raise ValueError(f"language.name {config.name!r}: write tiny:KIND:WIDTHxLAYERS")
    kind, width, layers = found[1], int(found[2]), int(found[3])
    try:
        settings = transformers.AutoConfig.for_model(
            kind,
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=layers,
            num_attention_heads=max(1, width // _TINY_HEAD),
            max_position_embeddings=_TINY_POSITIONS,
            initializer_range=_TINY_DEVIATION,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        if hasattr(settings, "num_key_value_heads"):
            settings.num_key_value_heads = settings.num_attention_heads
    except ValueError as error:
        reason = str(error).partition(".")[0][:200]
        raise ValueError(f"language.name {config.name!r}: {reason}") from error
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = transformers.AutoModelForCausalLM.from_config(settings)
    return model if config.dtype is None else model.to(getattr(torch, config.dtype))


def _pretrained(config: LanguageConfig, transformers: ModuleType) -> Any:
    options: dict[str, Any] = {"dtype": config.dtype or "auto"}
    if config.quantise is not None:
        if importlib.util.find_spec("bitsandbytes") is None:
            raise ModuleNotFoundError(
                f"language.quantise {config.quantise} needs bitsandbytes: pip install bitsandbytes"
            )
        compute = getattr(torch, config.dtype or "float32")
        options["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=config.quantise == 4,
            load_in_8bit=config.quantise == 8,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=compute,
        )
    path = Path(config.name)
    name: str | Path = config.name
    if path.suffix == ".gguf":
        check_gguf(path)
        # Its numbers are unpacked to float32.
        options |= {"dtype": config.dtype or "float32", "gguf_file": path.name}
        name = path.parent
    else:
        check_model(config.name)
    model, loaded = transformers.AutoModelForCausalLM.from_pretrained(
        name, output_loading_info=True, **options
    )
    lost = [*loaded["missing_keys"], *(entry[0] for entry in loaded["mismatched_keys"])]
    if lost:
        raise ValueError(
            f"{config.name} lacks {len(lost)} weights of a {type(model).__name__}, first"
            f" {', '.join(sorted(lost)[:3])}"
        )
    return model
