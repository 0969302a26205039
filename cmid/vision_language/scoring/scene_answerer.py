"""A small Qwen2-VL that is taught to answer about generated scenes, in minutes on a CPU.

It stands in for a pretrained model where there is none: to show and to measure what is done with
samples.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from cmid.files import new_folder, scratch_folder
from cmid.vision_language.scoring.answerer import THINK, Answerer
from cmid.vision_language.scoring.language_model import import_transformers
from cmid.vision_language.scoring.questions import Question
from cmid.vision_language.scoring.scene_questions import scene_questions

_END, _TURN, _TURN_ENDS = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
_VISION = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
_FORM = ("<think>", "</think>", "<answer>", "</answer>")
_TEMPLATE = """{% for message in messages %}<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}\
{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}\
{% endif %}{% endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
_IGNORED = -100


@dataclass(frozen=True)
class SceneAnswererConfig:
    """A model and how it is taught.

    Attributes:
        num_scenes: scenes to learn from; they have the seed that training has.
        size: their pixels a side.
        steps: optimizer steps.
        batch_size: questions at a time.
        learning_rate: of AdamW; warm-up and cosine.
        width: of the language model; the vision tower has the same.
        depth: blocks of either.
        seed: of weights, scenes and order.
    """

    num_scenes: int = 1500
    size: int = 64
    steps: int = 600
    batch_size: int = 32
    learning_rate: float = 3e-3
    width: int = 96
    depth: int = 2
    seed: int = 0


def scene_answerer(folder: Path, config: SceneAnswererConfig) -> Path:
    """Teach a model unless the folder is there; returns the folder, that of a Hugging Face model.

    Raises:
        ModuleNotFoundError: transformers is not installed.
        ValueError: the folder holds a model that was taught otherwise.
    """
    about = folder / "scene_answerer.json"
    if about.is_file():
        if json.loads(about.read_text()) != vars(config):
            raise ValueError(
                f"{folder} holds a model of other settings: delete it, or go elsewhere"
            )
        return folder
    scenes = scene_questions(config.num_scenes, size=config.size, seed=config.seed)
    questions = list(tqdm(scenes, desc="questions", unit="question"))
    torch.manual_seed(config.seed)
    answerer = build_answerer(questions, config, scratch=folder)
    teach(answerer, questions, config)
    with new_folder(folder) as scratch:
        answerer.model.save_pretrained(scratch)
        answerer.processor.save_pretrained(scratch)
        (scratch / about.name).write_text(json.dumps(vars(config), indent=2) + "\n")
    return folder


def build_answerer(
    questions: Sequence[Question], config: SceneAnswererConfig, *, scratch: Path
) -> Answerer:
    """A model with random weights whose words are those of the questions and answers.

    Args:
        scratch: a folder beside which files may be for a moment.
    """
    transformers = import_transformers()
    processor = _processor([f"{q.text}\n{said(q)}" for q in questions], config.size, scratch)
    tokens = processor.tokenizer.convert_tokens_to_ids
    heads = max(1, config.width // 32)
    half = config.width // heads // 2  # of a head's width: for time, height and width
    third = half // 3
    names = ("vision_start", "vision_end", "image", "video")
    qwen = transformers.Qwen2VLConfig(
        hidden_size=config.width,
        intermediate_size=2 * config.width,
        num_hidden_layers=config.depth,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        vocab_size=len(processor.tokenizer),
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        rope_scaling={"type": "mrope", "mrope_section": [half - 2 * third, third, third]},
        vision_config={
            "depth": config.depth,
            "embed_dim": config.width,
            "hidden_size": config.width,
            "mlp_ratio": 2,
            "num_heads": heads,
            "patch_size": 8,
        },
        bos_token_id=tokens(_END),
        pad_token_id=tokens(_END),
        eos_token_id=tokens(_TURN_ENDS),
        **{f"{name}_token_id": tokens(sign) for name, sign in zip(names, _VISION, strict=True)},
    )
    model = transformers.Qwen2VLForConditionalGeneration(qwen)
    model.generation_config.eos_token_id = tokens(_TURN_ENDS)
    model.generation_config.pad_token_id = tokens(_END)
    return Answerer(model.eval(), processor)


def said(question: Question) -> str:
    """The true answer in the form that the rewards want."""
    return f"<think>{question.thought}</think><answer>{question.answer}</answer>"


def teach(
    answerer: Answerer, questions: Sequence[Question], config: SceneAnswererConfig
) -> list[float]:
    """Train on the answers, all weights; returns the loss of every step."""
    model = answerer.model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.05)
    warmup = max(1, config.steps // 20)

    def factor(step: int) -> float:
        return min((step + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * step / config.steps))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    draws = torch.Generator().manual_seed(config.seed)
    losses = []
    with tqdm(range(config.steps), desc="teaching", unit="step") as progress:
        for _ in progress:
            rows = torch.randint(len(questions), (config.batch_size,), generator=draws)
            batch = [questions[row] for row in rows.tolist()]
            inputs = answerer.inputs(
                [q.pixels() for q in batch], [q.text for q in batch], [said(q) for q in batch]
            )
            labels = _labels(inputs, answerer.processor.tokenizer)
            loss = model(**inputs, labels=labels).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            progress.set_postfix(loss=f"{losses[-1]:.3f}")
    model.eval()
    return losses


def _labels(inputs: Any, tokenizer: Any) -> Tensor:
    """What follows the last turn's head; the rest is not learned."""
    ids = inputs["input_ids"]
    starts = (ids == tokenizer.convert_tokens_to_ids(_TURN)).int()  # (B, L)
    head = len(tokenizer("assistant\n")["input_ids"])
    places = torch.arange(ids.shape[1])
    begin = (starts * places).argmax(dim=1) + head  # the last token of the head
    return ids.masked_fill(places <= begin[:, None], _IGNORED)


def _processor(texts: Sequence[str], size: int, scratch: Path) -> Any:
    transformers = import_transformers()
    byte_letters = transformers.models.gpt2.tokenization_gpt2.bytes_to_unicode
    with scratch_folder(scratch / "words") as folder:
        letters = {letter: number for number, letter in enumerate(byte_letters().values())}
        (folder / "vocab.json").write_text(json.dumps(letters))
        (folder / "merges.txt").write_text("#version: 0.2\n")
        bytewise = transformers.Qwen2TokenizerFast(
            vocab_file=str(folder / "vocab.json"), merges_file=str(folder / "merges.txt")
        )
    heads = ["system\n", "user\n", "assistant\n"]
    tokenizer = bytewise.train_new_from_iterator(
        [*texts, *[THINK, *heads] * 100], vocab_size=600, show_progress=False
    )
    tokenizer.add_tokens([*_FORM])
    tokenizer.add_special_tokens(
        {"eos_token": _TURN_ENDS, "additional_special_tokens": [_TURN, *_VISION]}
    )
    limits = {"min_pixels": size * size, "max_pixels": size * size, "patch_size": 8}
    return transformers.Qwen2VLProcessor(
        image_processor=transformers.Qwen2VLImageProcessorFast(**limits),
        tokenizer=tokenizer,
        video_processor=transformers.Qwen2VLVideoProcessor(**limits),
        chat_template=_TEMPLATE,
    )
