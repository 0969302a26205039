"""What seeing costs a language model in training, and what batches save in answering.

    python -m benchmarks.speed.multimodal
    python -m benchmarks.speed.multimodal --model runs/multimodal_scenes/model

A training step, forward and backward passes of all parts, beside its floor: the language model
alone with the same embeddings, mask and labels. What the tower takes is timed by itself and left
aside. Then the same questions, answered one by one and together. All parts are timed in turn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch

from benchmarks.speed.device import DEVICE, Clock, Precision, autocast
from benchmarks.speed.table import ratio, show
from cmid.command_line import command
from cmid.memory import keep_freed_memory
from cmid.multimodal.building import MultimodalConfig
from cmid.multimodal.data import SceneConversations
from cmid.multimodal.data.datamodule import ConversationView, collate
from cmid.multimodal.language import LanguageConfig, attention_kernels, use_attention
from cmid.multimodal.losses import answer_loss
from cmid.multimodal.module import MultimodalTraining
from cmid.multimodal.stages import StageConfig
from cmid.multimodal.tower import TowerConfig
from cmid.options import at_least, option


@dataclass(frozen=True)
class SpeedConfig:
    """What is timed.

    Attributes:
        model: folder of a trained model; otherwise a new one of the two parts below.
        backbone: image tower.
        language: language model.
        size: pixels per side, of a new model.
        batch: scenes of a step.
        questions: about a scene, behind one image.
        asked: questions that are answered.
        tokens: longest answer.
        pairs: timed repetitions, after one to warm up.
        attention: how the language model computes its attention; of several each is timed in turn.
        precision: of the step and its parts.
        threads: threads of torch (default: as it chooses).
        cpu_time: time of the process instead of the clock's; with one thread.
        device: cpu, cuda, ...
        out: JSON file of the step; that of the answers lies beside it.
    """

    model: str | None = None
    backbone: str = "random:resnet18"
    language: str = "tiny:llama:128x4"
    size: Annotated[int, at_least(1)] = 64
    batch: Annotated[int, at_least(1)] = 64
    questions: Annotated[int, at_least(1)] = 7
    asked: Annotated[int, at_least(1)] = 32
    tokens: Annotated[int, at_least(1)] = 24
    pairs: Annotated[int, at_least(1)] = 5
    attention: tuple[str, ...] = option(("sdpa",), metavar="NAME")
    precision: Precision = "fp32"
    threads: Annotated[int, at_least(1)] | None = None
    cpu_time: bool = False
    device: str = DEVICE
    out: str | None = None


def training(config: SpeedConfig) -> MultimodalTraining:
    """The model that is timed, all of it learning, as in the default run."""
    network = MultimodalConfig(
        tower=TowerConfig(config.backbone, size=config.size),
        language=LanguageConfig(config.language),
    )
    module = MultimodalTraining(
        network,
        start=config.model,
        stage=StageConfig(average="roots", share_prefix=True),
        texts=None if config.model else list(SceneConversations(1000).texts()),
        channels_last=True,
    )
    return module.to(config.device)


def time_step(
    module: MultimodalTraining, batch: dict[str, Any], config: SpeedConfig
) -> list[dict[str, Any]]:
    """A row for each attention: step, tower, perceiver, language model alone, and their ratio."""
    model = module.model.train()
    images = torch.cat(batch["images"]).to(config.device)
    with torch.no_grad():
        spliced = model(module.arranged(batch)).spliced
        levels = model.tower(images)
    embeds = spliced.embeds.detach().requires_grad_()
    clocks = {name: Clock(config.device, cpu_time=config.cpu_time) for name in config.attention}

    def step() -> None:
        with autocast(config.device, config.precision):
            loss = model(module.arranged(batch), average="roots", whole=False).loss
        loss.backward()

    def tower() -> None:
        with autocast(config.device, config.precision):
            read = torch.stack([level.tokens.sum() for level in model.tower(images)])
        read.sum().backward()

    def perceiver() -> None:
        tokens, grids = zip(*levels, strict=True)
        with autocast(config.device, config.precision):
            read = model.perceiver.read(tokens, grids).tokens
        read.sum().backward()

    def language() -> None:
        with autocast(config.device, config.precision):
            logits = model.language(
                inputs_embeds=embeds, attention_mask=spliced.attention_mask,
                position_ids=spliced.positions, use_cache=False,
            ).logits  # fmt: skip
            loss = answer_loss(logits, spliced.labels, average="roots")
        loss.backward()

    for _ in range(config.pairs + 1):
        for name, clock in clocks.items():
            use_attention(model.language, name)
            for part in (step, tower, perceiver, language):
                with attention_kernels(name):
                    clock.time(part.__name__, part)
                model.zero_grad()
    first = clocks[config.attention[0]]
    rows = []
    for name, clock in clocks.items():
        steps, towers = clock.parts["step"], clock.parts["tower"]
        beyond = [step - tower for step, tower in zip(steps, towers, strict=True)]
        rows.append(
            {
                "attention": name,
                "tokens": f"{len(spliced.mask)} x {spliced.mask.shape[1]}",
                "step s": clock.median("step"),
                "tower s": clock.median("tower"),
                "perceiver s": clock.median("perceiver"),
                "language model alone s": clock.median("language"),
                **ratio("(step - tower) / language model", beyond, clock.parts["language"]),
                "to that by the first": ratio("", beyond, first.parts["language"])[""],
                "step / first": ratio("", steps, first.parts["step"])[""],
            }
        )
    return rows


def time_answers(
    module: MultimodalTraining, scenes: SceneConversations, config: SpeedConfig
) -> list[dict[str, Any]]:
    """A row for one by one and one for all together."""
    model = module.model.eval()
    examples = [scenes.read(index) for index in range(config.asked)]
    conversations = [example.conversations[0] for example in examples]
    images = [list(example.images) for example in examples]
    clock, written = Clock(config.device, cpu_time=config.cpu_time), 0
    sizes = {"one by one": 1, f"{len(images)} together": len(images)}
    for _ in range(config.pairs + 1):
        for name, size in sizes.items():
            answer = partial(
                model.generate, conversations, images, batch_size=size, max_tokens=config.tokens
            )
            answers = clock.time(name, answer)
            written = sum(len(ids) for ids in model.encoder.tokenizer(answers)["input_ids"])
    single, together = (clock.parts[name] for name in sizes)
    gains = ratio("tokens a second / one by one", single, together)
    return [
        {
            "answered": name,
            "tokens": written,
            "seconds": clock.median(name),
            "tokens a second": written / clock.median(name),
            **told,
        }
        for name, told in zip(sizes, (dict.fromkeys(gains, 1.0), gains), strict=True)
    ]


@command(SpeedConfig, memory="--batch")
def main(config: SpeedConfig) -> None:
    """Measure both and show two tables."""
    if config.threads:
        torch.set_num_threads(config.threads)
    if config.device == "cpu":
        keep_freed_memory()  # as training does
    module = training(config)
    size = module.model.tower.size
    scenes = SceneConversations(1000, size=size, limit=config.questions)
    view = ConversationView(size, module.model.fit)
    samples = [view.sample(scenes, index, None) | {"skipped": ""} for index in range(config.batch)]
    show(time_step(module, collate(samples), config), config)
    use_attention(module.model.language, config.attention[0])
    out = config.out and str(Path(config.out).with_suffix(".answers.json"))
    show(time_answers(module, scenes, config), replace(config, out=out))


if __name__ == "__main__":
    main()
