"""Language models from files: what is lost is named, and GGUF is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="extra multimodal is not installed")

from cmid.multimodal.conversation import Conversation
from cmid.multimodal.language import LanguageConfig, build_language
from cmid.multimodal.tokens import ConversationEncoder, load_tokenizer

GGUF_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
TEMPLATE = """{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}\
{% if add_generation_prompt %}<|assistant|>{% endif %}"""


@pytest.fixture
def tokenizer() -> Any:
    return load_tokenizer("bpe:290", texts=["Is there a ship?", "yes", "How many planes?"] * 9)


@pytest.fixture
def tied(tokenizer: Any) -> Any:
    """A model whose head over words is its embedding, as that of many small ones."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=1,
        num_attention_heads=2,
        tie_word_embeddings=True,
        max_position_embeddings=512,
    )
    return LlamaForCausalLM(config).eval()


def write_gguf(path: Path, model: Any, tokenizer: Any) -> None:
    gguf = pytest.importorskip("gguf")
    config, words = model.config, json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    special = set(tokenizer.all_special_tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in words["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.pad_token_id)  # wrong, as in files that are around
    writer.add_chat_template(TEMPLATE)
    for name, tensor in model.state_dict().items():
        array = tensor.numpy()
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            halves = array.reshape(config.num_attention_heads, 2, -1, array.shape[1])
            array = halves.swapaxes(1, 2).reshape(array.shape)
        if name != "lm_head.weight":
            writer.add_tensor(_gguf_name(name), np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _gguf_name(name: str) -> str:
    if ".layers." not in name:
        return "token_embd.weight" if "embed" in name else "output_norm.weight"
    _, _, number, *middle, kind = name.split(".")
    return f"blk.{number}.{GGUF_NAMES['.'.join(middle)]}.{kind}"


def test_a_gguf_file_gives_the_model_and_a_tokenizer_that_knows_where_answers_end(
    tokenizer: Any, tied: Any, tmp_path: Path
) -> None:
    path = tmp_path / "model.gguf"
    write_gguf(path, tied, tokenizer)
    read = load_tokenizer(str(path))
    model = build_language(LanguageConfig(str(path)), read)
    ids = torch.arange(12)[None]
    torch.testing.assert_close(model(ids).logits, tied(ids).logits)
    encoder = ConversationEncoder(read)
    assert read.eos_token == "<|end|>"
    assert encoder.ends == [tokenizer.convert_tokens_to_ids("<|end|>")]
    labels = encoder.encode(Conversation.of([("Is there a ship?", "yes")])).labels
    assert read.decode(labels[labels >= 0]) == "yes<|end|>"


def test_weights_that_a_folder_lacks_are_named(tokenizer: Any, tied: Any, tmp_path: Path) -> None:
    weights = tied.state_dict()
    del weights["lm_head.weight"]
    tied.save_pretrained(tmp_path / "tied", state_dict=weights)
    build_language(LanguageConfig(str(tmp_path / "tied")), tokenizer)  # tied, so not lost
    del weights["model.norm.weight"]
    tied.save_pretrained(tmp_path / "holed", state_dict=weights)
    with pytest.raises(ValueError, match=r"lacks 1 weights .* model.norm.weight"):
        build_language(LanguageConfig(str(tmp_path / "holed")), tokenizer)


def test_a_tokenizer_of_another_model_is_refused(tied: Any, tmp_path: Path) -> None:
    tied.save_pretrained(tmp_path / "model")
    other = load_tokenizer("bpe:320", texts=["a long text with many different words"] * 9)
    other.add_tokens([f"word{number}" for number in range(60)])
    with pytest.raises(ValueError, match="not of one model"):
        build_language(LanguageConfig(str(tmp_path / "model")), other)


def test_a_misspelt_folder_and_one_of_something_else_are_named(
    tokenizer: Any, tmp_path: Path
) -> None:
    for read in (load_tokenizer, lambda name: build_language(LanguageConfig(name), tokenizer)):
        with pytest.raises(FileNotFoundError, match="no model runs/stage1/modle: give a folder"):
            read("runs/stage1/modle")
        with pytest.raises(FileNotFoundError, match=r"it has no \w+\.json"):
            read(str(tmp_path))
