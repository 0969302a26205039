"""What it would take to score a billion pairs on GPUs, by arithmetic: nothing is run.

python -m benchmarks.speed.scoring_cost

Operations of a pair are counted on models without memory (the meta device); a GPU is assumed to do
a share of its peak. Decoding of images is left out: a billion of them also need CPUs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cmid.command_line import command
from cmid.options import at_least
from cmid.reporting import Row, Table, markdown_table
from cmid.vision_language.scoring.language_model import import_transformers

_CLIPS = ("ViT-B-32", "ViT-B-16", "ViT-L-14")
_TEMPLATE = 25  # tokens of the chat template around an image and a caption
_PATCH, _MERGED = 14, 4  # Qwen2-VL: pixels of a patch's side, patches of a token
# Width, inner width, heads, heads of keys, vocabulary; all have 28 layers (arXiv:2409.12191).
_QWEN2_VL = {
    "Qwen2-VL-2B": (1536, 8960, 12, 2, 151_936),
    "Qwen2-VL-7B": (3584, 18_944, 28, 4, 152_064),
}


@dataclass(frozen=True)
class CostConfig:
    """What is assumed.

    Attributes:
        pairs: number of pairs.
        gpus: number of GPUs.
        peak: dense operations a second of one GPU in half precision, in units of 1e12.
        utilisation: share of the peak that is reached.
        side: height and width of an image for the language models, in pixels.
        words: tokens of a caption.
    """

    pairs: Annotated[float, at_least(1)] = 1e9
    gpus: Annotated[int, at_least(1)] = 8
    peak: Annotated[float, at_least(1)] = 989.0
    utilisation: Annotated[float, at_least(0.01, 1)] = 0.4
    side: Annotated[int, at_least(28)] = 448
    words: Annotated[int, at_least(1)] = 40


def clip_operations(name: str) -> float:
    """Operations of an image and a text in both towers of an architecture of open_clip."""
    import open_clip

    settings = open_clip.get_model_config(name)
    with torch.device("meta"):
        model = open_clip.CLIP(**settings).eval()
        size = settings["vision_cfg"]["image_size"]
        length = settings["text_cfg"]["context_length"]
        image = torch.empty(1, 3, size, size)
        text = torch.empty(1, length, dtype=torch.int64)
    with FlopCounterMode(display=False) as counted, torch.inference_mode():
        model.encode_image(image)
        model.encode_text(text)
    return float(counted.get_total_flops())


def language_model_operations(name: str, *, side: int, words: int) -> float:
    """Operations of an image and a caption in Qwen2-VL without its head over words.

    Two for each weight of a linear layer and token, and the products of attention.
    """
    width, inner, heads, of_keys, vocabulary = _QWEN2_VL[name]
    transformers = import_transformers()
    text = {
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": 28,
        "num_attention_heads": heads,
        "num_key_value_heads": of_keys,
        "vocab_size": vocabulary,
    }
    config = transformers.Qwen2VLConfig(text_config=text, vision_config={"hidden_size": width})
    with torch.device("meta"):
        model: Any = transformers.Qwen2VLModel(config)
    merged = round(side / (_PATCH * math.isqrt(_MERGED))) ** 2
    patches, tokens = merged * _MERGED, merged + words + _TEMPLATE
    vision = model.visual.config
    return (
        _linear(model.visual.blocks, patches)
        + _linear(model.visual.merger, merged)
        + 4 * patches**2 * vision.embed_dim * vision.depth
        + _linear(model.language_model, tokens)
        + 4 * tokens**2 * width * 28
    )


def _linear(module: nn.Module, tokens: int) -> float:
    layers = (each for each in module.modules() if isinstance(each, nn.Linear))
    return 2.0 * tokens * sum(layer.weight.numel() for layer in layers)


@command(CostConfig)
def main(config: CostConfig) -> None:
    """Print a table."""
    counted = {name: clip_operations(name) for name in _CLIPS} | {
        name: language_model_operations(name, side=config.side, words=config.words)
        for name in _QWEN2_VL
    }
    rows = []
    for name, operations in counted.items():
        each = config.peak * 1e12 * config.utilisation / operations
        hours = config.pairs / (each * config.gpus) / 3600
        cells = (f"{operations / 1e9:,.0f}", f"{each:,.0f}", f"{hours:,.1f}")
        rows.append(Row(name, (*cells, f"{hours * config.gpus:,.0f}")))
    columns = ("model", "GFLOP a pair", "pairs a second and GPU", "hours", "GPU-hours")
    print(markdown_table(Table(columns, tuple(rows)), aligned=True))


if __name__ == "__main__":
    main()
