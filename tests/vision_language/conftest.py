"""A small Qwen2-VL with random weights, and the processor that belongs to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

SIGNS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
SIGNS += ["<|image_pad|>", "<|video_pad|>"]
TEMPLATE = """{% for message in messages %}{% if loop.first and message.role != 'system' %}\
<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}\
<|im_start|>{{ message.role }}\n{% for part in message.content %}{% if part.type == 'image' %}\
<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}{% endfor %}\
<|im_end|>\n{% endfor %}"""


@pytest.fixture(scope="session")
def qwen_processor(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Bytes are its tokens; images are at most 112 pixels wide or high."""
    transformers = pytest.importorskip("transformers")
    from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

    folder = tmp_path_factory.mktemp("tokenizer")
    vocabulary = {letter: number for number, letter in enumerate(bytes_to_unicode().values())}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.Qwen2TokenizerFast(
        vocab_file=str(folder / "vocab.json"), merges_file=str(folder / "merges.txt")
    )
    tokenizer.add_special_tokens({"additional_special_tokens": SIGNS[1:]})
    assert tokenizer.convert_tokens_to_ids(SIGNS) == list(range(256, 256 + len(SIGNS)))
    limits = {"min_pixels": 28 * 28, "max_pixels": 16 * 28 * 28}
    return transformers.Qwen2VLProcessor(
        image_processor=transformers.Qwen2VLImageProcessorFast(**limits),
        tokenizer=tokenizer,
        video_processor=transformers.Qwen2VLVideoProcessor(**limits),
        chat_template=TEMPLATE,
    )


@pytest.fixture(scope="session")
def qwen_config() -> dict[str, Any]:
    """Configuration of a small Qwen2-VL, in the flat form of released weights."""
    return {
        "architectures": ["Qwen2Reward"],
        "model_type": "qwen2_vl",
        "hidden_size": 32,
        "intermediate_size": 64,
        "max_position_embeddings": 1024,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "num_key_value_heads": 1,
        "vocab_size": 256 + len(SIGNS),
        "pad_token_id": 256,
        "bos_token_id": 256,
        "eos_token_id": 258,
        "vision_start_token_id": 259,
        "vision_end_token_id": 260,
        "image_token_id": 261,
        "video_token_id": 262,
        "ranked_candidate_num": 2,
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
        "vision_config": {
            "depth": 1,
            "embed_dim": 32,
            "hidden_size": 32,
            "mlp_ratio": 2,
            "num_heads": 2,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
    }


@pytest.fixture
def qwen(qwen_config: dict[str, Any]) -> Any:
    """The model without a head over words."""
    transformers = pytest.importorskip("transformers")
    config = dict(qwen_config)
    config = transformers.Qwen2VLConfig(**config)
    torch.manual_seed(7)
    model = transformers.Qwen2VLModel(config).eval()
    for parameter in model.parameters():
        # As drawn, the image has hardly a say.
        parameter.data.mul_(4.0 if parameter.ndim > 1 else 1.0)
    return model


@pytest.fixture(scope="session")
def pictures() -> Callable[..., list[Tensor]]:
    """Random images of the given heights and widths."""

    def draw(*sizes: tuple[int, int]) -> list[Tensor]:
        generator = torch.Generator().manual_seed(3)
        return [
            torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator)
            for size in sizes
        ]

    return draw


@pytest.fixture(scope="session")
def scoring_golden(root: Path) -> dict[str, Tensor]:
    """Reference values of scorers, computed with independent code."""
    from safetensors.torch import load_file

    return load_file(root / "tests/data/scorers.safetensors")


@pytest.fixture(scope="session")
def answerer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A very small Qwen2-VL that has been taught about scenes for a few steps."""
    pytest.importorskip("transformers")
    from cmid.vision_language.scoring.scene_answerer import SceneAnswererConfig, scene_answerer

    tiny = {"num_scenes": 10, "size": 32, "width": 32, "depth": 1, "batch_size": 8, "steps": 30}
    return scene_answerer(
        tmp_path_factory.mktemp("answerer") / "model",
        SceneAnswererConfig(**tiny, learning_rate=1e-2),
    )
