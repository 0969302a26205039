"""Memory that training of LHRS-Bot and LHRS-Bot-Nova takes, by arithmetic: nothing is run.

python -m benchmarks.speed.multimodal_memory

Weights, and what the forward pass keeps for the backward one, are counted on models without memory
(the meta device): parts of full size, one layer of the language model and its ends, in bfloat16.
Left out are what CUDA and a fragmented allocator add (one to two GiB), and what tower and perceiver
keep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import timm
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cmid.command_line import command
from cmid.multimodal.experts import ExpertsConfig
from cmid.multimodal.language import AdapterConfig, add_adapter
from cmid.multimodal.perceiver import Perceiver, PerceiverConfig
from cmid.multimodal.released import SYSTEMS, Kind
from cmid.multimodal.tokens import import_transformers
from cmid.options import at_least
from cmid.reporting import Row, Table, markdown_table

_GIB = 2**30
_LAYERS, _WIDTH, _HEADS = 32, 4096, 32  # LLaMA 2 of 7B and LLaMA 3 of 8B
# Heads of keys, inner width, vocabulary.
_LANGUAGE: dict[Kind, tuple[int, int, int]] = {
    "lhrs_bot": (32, 11_008, 32_000),
    "nova": (8, 14_336, 128_256),
}
_PERCEIVERS: dict[Kind, PerceiverConfig] = {
    "lhrs_bot": PerceiverConfig("lhrs_bot", (64, 48, 32), 1024, 16),
    "nova": PerceiverConfig("nova", experts=ExpertsConfig()),
}
_NAMES: dict[Kind, str] = {"lhrs_bot": "LHRS-Bot, 7B", "nova": "LHRS-Bot-Nova, 8B"}
_HALF = 2  # bytes of bfloat16
_LEARNED = 4 + 4 + 8  # bytes of a learned weight: itself, its gradient, two moments of AdamW
_QUANTISED = 0.5 + 4 / 64  # bytes of a weight of 4 bits, with a float32 scale of 64 of them
_CARDS = (24, 80)
Tuning = Literal["LoRA", "LoRA on 4 bits", "all weights"]
_TUNINGS: tuple[Tuning, ...] = ("LoRA", "LoRA on 4 bits", "all weights")


@dataclass(frozen=True)
class MemoryConfig:
    """What is assumed.

    Attributes:
        length: tokens of a conversation, with those of its image.
        batch: conversations that pass one GPU together.
        rank: of LoRA.
    """

    length: Annotated[int, at_least(1)] = 2048
    batch: Annotated[int, at_least(1)] = 1
    rank: Annotated[int, at_least(1)] = 128


@dataclass(frozen=True)
class LanguageCount:
    """Bytes of a language model's parts.

    Attributes:
        layer, ends: weights of a layer, and of embeddings and head, without an adapter.
        linear: those weights of a layer that are kept in 4 bits.
        adapter: of a layer, in numbers.
        kept, kept_ends: what the backward pass keeps of a layer, and of head and loss, in bytes.
    """

    layer: int
    ends: int
    linear: int
    adapter: int
    kept: int
    kept_ends: int


def count_language(kind: Kind, config: MemoryConfig, *, adapter: bool) -> LanguageCount:
    """Count a layer and the ends of a language model of full size."""
    model = _language(kind, config, adapter=adapter)
    decoder = model.get_base_model() if adapter else model
    (layer,) = decoder.model.layers
    frozen = sum(p.numel() for name, p in layer.named_parameters() if "lora_" not in name)
    linear = sum(
        part.weight.numel()
        for name, part in layer.named_modules()
        if isinstance(part, nn.Linear) and "lora_" not in name
    )
    shape = config.batch, config.length
    with torch.device("meta"):
        inputs = torch.empty(*shape, _WIDTH, dtype=torch.bfloat16, requires_grad=True)
        turns = torch.empty(*shape, _WIDTH // _HEADS, dtype=torch.bfloat16)
        labels = torch.zeros(shape, dtype=torch.int64)

    def end() -> None:
        logits = decoder.lm_head(decoder.model.norm(inputs))
        cross_entropy(logits.float().flatten(0, 1), labels.flatten())

    return LanguageCount(
        layer=frozen,
        ends=_numel(decoder.model.embed_tokens.parameters())
        + _numel(decoder.model.norm.parameters())
        + _numel(decoder.lm_head.parameters()),
        linear=linear,
        adapter=_numel(layer.parameters()) - frozen,
        kept=kept_bytes(model, lambda: layer(inputs, position_embeddings=(turns, turns))),
        kept_ends=kept_bytes(model, end),
    )


def training_bytes(
    kind: Kind, config: MemoryConfig, *, tuning: Tuning, checkpointing: bool
) -> dict[str, float]:
    """Bytes of one GPU by what they are for."""
    counted = count_language(kind, config, adapter=tuning != "all weights")
    tower, perceiver = _tower(kind), _perceiver(kind)
    layers = counted.layer * _LAYERS
    learned = counted.adapter * _LAYERS + perceiver
    frozen = layers + counted.ends
    weights: float
    if tuning == "all weights":
        learned, weights = learned + frozen, _HALF * tower
    elif tuning == "LoRA on 4 bits":
        quantised = counted.linear * _LAYERS
        weights = _QUANTISED * quantised + _HALF * (frozen - quantised + tower)
    else:
        weights = _HALF * (frozen + tower)
    inputs = _HALF * config.batch * config.length * _WIDTH
    layer_by_layer = inputs * _LAYERS + counted.kept  # one layer is recomputed at a time
    whole = counted.kept * _LAYERS
    return {
        "frozen weights": weights,
        "learned weights": float(_LEARNED * learned),
        "activations": float(counted.kept_ends + (layer_by_layer if checkpointing else whole)),
    }


def _language(kind: Kind, config: MemoryConfig, *, adapter: bool) -> Any:
    """The language model with one of its layers."""
    of_keys, inner, vocabulary = _LANGUAGE[kind]
    transformers = import_transformers()
    transformers.AttentionInterface.register("counted", _attend)
    settings = transformers.LlamaConfig(
        hidden_size=_WIDTH,
        intermediate_size=inner,
        num_hidden_layers=1,
        num_attention_heads=_HEADS,
        num_key_value_heads=of_keys,
        vocab_size=vocabulary,
        attn_implementation="counted",
    )
    with torch.device("meta"):
        model: Any = transformers.LlamaForCausalLM(settings)
        if adapter:
            model = add_adapter(model, AdapterConfig(rank=config.rank, alpha=2 * config.rank))
    return model.to(torch.bfloat16).train()


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **_: Any
) -> tuple[Tensor, None]:
    return _Attention.apply(query, key, value).transpose(1, 2), None


class _Attention(torch.autograd.Function):
    """Keeps what FlashAttention-2 (arXiv:2307.08691) does: its arguments, result and log-sums.

    It has no backward pass: what would be kept for one is all that is counted.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        result = torch.empty_like(query)
        sums = torch.empty(query.shape[:-1], dtype=torch.float32, device=query.device)
        ctx.save_for_backward(query, key, value, result, sums)
        return result


def kept_bytes(model: nn.Module, run: Callable[[], Any]) -> int:
    """Bytes of different tensors, weights aside, that are left to the backward pass."""
    own = {p.untyped_storage()._cdata for p in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in own:
            kept[storage] = tensor  # kept alive, or another may lie at its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def _tower(kind: Kind) -> int:
    known = SYSTEMS[kind]
    with torch.device("meta"):
        network = timm.create_model(known.architecture, **known.model_args, depth=known.depth)
    return _numel(network.parameters())


def _perceiver(kind: Kind) -> int:
    config = _PERCEIVERS[kind]
    with torch.device("meta"):
        perceiver = Perceiver(config, (config.width,) * len(config.queries), out_width=_WIDTH)
    return _numel(perceiver.parameters())


def _numel(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)


@command(MemoryConfig)
def main(config: MemoryConfig) -> None:
    """Print a table."""
    rows = []
    for kind, name in _NAMES.items():
        for tuning in _TUNINGS:
            for checkpointing in (True, False):
                parts = training_bytes(kind, config, tuning=tuning, checkpointing=checkpointing)
                total = sum(parts.values()) / _GIB
                fits = [f"{card} GB" for card in _CARDS if total * _GIB < card * 1e9]
                cells = [f"{part / _GIB:.1f}" for part in parts.values()]
                told = (tuning, "yes" if checkpointing else "no", *cells, f"{total:.1f}")
                rows.append(Row(name, (*told, fits[0] if fits else "neither")))
    columns = ("model", "learns", "checkpointing", "frozen GiB", "learned GiB", "activations GiB")
    print(markdown_table(Table((*columns, "sum GiB", "fits"), tuple(rows)), aligned=True))


if __name__ == "__main__":
    main()
