"""The command that trains a language model by rewards: configuration, data, TRL's trainer."""

from __future__ import annotations

import csv
import io
import os
import statistics
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from cmid.checkpoints.hugging_face import check_model
from cmid.claimed_folder import ClaimedFolder
from cmid.console import warn
from cmid.files import write_text
from cmid.program import program
from cmid.run import SuggestingParser
from cmid.vision_language.scoring.answerer import THINK
from cmid.vision_language.scoring.grpo import (
    Form,
    import_trl,
    make_dataset,
    reward_function,
    trainer_class,
    trainer_settings,
)
from cmid.vision_language.scoring.language_model import import_transformers, read_processor
from cmid.vision_language.scoring.questions import Question, read_questions
from cmid.vision_language.scoring.scene_answerer import SceneAnswererConfig, scene_answerer
from cmid.vision_language.scoring.scene_questions import scene_questions
from cmid.vision_language.scoring.storage import load_scorer
from cmid.visualization.curves import line_figure
from cmid.visualization.saving import save_figure

_SCENES = "scenes"
_LOGGED = {"reward": "reward", "reward_std": "deviation", "kl": "kl", "format": "format"}
_LOGGED |= {"loss": "loss", "completions/mean_length": "length"}


@dataclass(frozen=True)
class GRPORunConfig:
    """What is trained, on what.

    Attributes:
        model: folder of a multimodal model of this project, folder or name of an
            image-text-to-text model of Hugging Face, or 'scenes': a small one of these that is
            taught about generated scenes first.
        data: questions (.json, .jsonl, .parquet, see tools/best_of_n.py), or 'scenes'.
        run_dir: folder of checkpoints, curve and model.
        ckpt_path: 'last': go on with the last checkpoint of run_dir.
        scorer: folder of a scorer for questions of kind open; without one they are left out.
        image_root: folder that paths of images start from (default: that of the questions).
        num_scenes: how many, if generated.
        scene_seed: of generated scenes; 0 is that of the small model's own, 1 that of tests.
        system: what the system's turn says; empty: the model's own (default: think, then answer;
            of a model of this project its own).
        form: what earns: 'thought': an answer behind a thought, as the rewards want it; 'plain':
            all of a text is the answer (default: plain for a model of this project).
        trained: of a model of this project the parts that learn, of tower, perceiver, adapter and
            language (default: its adapter, or all of its language model where it has none).
        seed: of order and answers.
        scene_answerer: the small model.
        trainer: fields of TRL's GRPOConfig.
    """

    model: str = _SCENES
    data: str = _SCENES
    run_dir: str = "runs/grpo"
    ckpt_path: str | None = None
    scorer: str | None = None
    image_root: str | None = None
    num_scenes: int = 500
    scene_seed: int = 2
    system: str | None = None
    form: Form | None = None
    trained: list[str] | None = None
    seed: int = 0
    scene_answerer: SceneAnswererConfig = field(default_factory=SceneAnswererConfig)
    trainer: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Family:
    """What training by rewards has to know of a kind of models.

    Attributes:
        processor: what writes prompts for TRL.
        system, form: see `GRPORunConfig`, where they are not given.
        config: see `trainer_settings`.
        opening: arguments that TRL opens the model, and its reference, with.
        scenes: questions about generated scenes that a model can be asked.
    """

    processor: Any
    system: str
    form: Form
    config: Any
    opening: dict[str, Any]
    scenes: Iterable[Question]


def hugging_face(config: GRPORunConfig, model: str) -> Family:
    """The family of image-text-to-text models of Hugging Face.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: parts are named, which they do not have, or it is a model of another kind.
    """
    if config.trained:
        raise ValueError("trained names parts of a multimodal model of this project: leave it out")
    check_model(model)
    return Family(
        read_processor(model, padding_side="left"),
        THINK,
        "thought",
        import_transformers().AutoConfig.from_pretrained(model),
        {},
        scene_questions(config.num_scenes, size=config.scene_answerer.size, seed=config.scene_seed),
    )


def train_grpo(
    args: Sequence[str], *, family: Callable[[GRPORunConfig, str], Family] = hugging_face
) -> Path:
    """Run the command with these arguments; returns the folder of the trained model.

    Args:
        family: of a model that is named by its folder.

    Raises:
        FileNotFoundError, ValueError, ModuleNotFoundError: with a one-line message.
        KeyboardInterrupt: the user stopped it; the text says how to go on.
    """
    config = _parse(args)
    import_trl()
    import_transformers().logging.set_verbosity_error()
    run_dir = Path(config.run_dir)
    # Of the processes of a launcher, the first one claims the folder for all.
    first = int(os.environ.get("RANK") or 0) == 0
    with ClaimedFolder(run_dir) if first else nullcontext():
        checkpoint = _checkpoint(config, run_dir)
        try:
            return _train(config, run_dir, checkpoint, family)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(how_to_go_on(run_dir)) from None


def how_to_go_on(run_dir: Path) -> str:
    """What an interrupted run says last."""
    found = _checkpoints_in(run_dir)
    if not found:
        return (
            "interrupted, before the first checkpoint: start again"
            " (--trainer.save_steps N for earlier ones)"
        )
    return f"interrupted; go on from {found[-1]} with the same command and --ckpt_path last"


def check_rate(checkpoint: Path, learning_rate: float) -> None:
    """Refuse another learning rate than a checkpoint's, with which the trainer would go on.

    Raises:
        ValueError: it is another one.
    """
    path = checkpoint / "scheduler.pt"
    if not path.is_file():
        return
    rates = torch.load(path, map_location="cpu", weights_only=True).get("base_lrs", [])
    if rates and rates[0] != learning_rate:
        raise ValueError(
            f"trainer.learning_rate is {learning_rate:g}, the run goes on with that of"
            f" {checkpoint}, {rates[0]:g}: give this one, or start a run of"
            f" --model {checkpoint} in another --run_dir"
        )


def _checkpoints_in(run_dir: Path) -> list[Path]:
    """Whole checkpoints, the last one at the end."""
    # The trainer's state is what a checkpoint is finished with.
    found = [file.parent for file in run_dir.glob("checkpoint-*/trainer_state.json")]
    return sorted(found, key=lambda folder: int(folder.name.partition("-")[2]))


def _parse(args: Sequence[str]) -> GRPORunConfig:
    parser = SuggestingParser(
        prog=program("train_grpo"), description="Train by rewards (GRPO).", allow_abbrev=False
    )
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(GRPORunConfig)
    given = parser.instantiate_classes(parser.parse_args([*args])).as_dict()
    given.pop("config")
    return GRPORunConfig(**given)


def _checkpoint(config: GRPORunConfig, run_dir: Path) -> Path | None:
    """The last whole checkpoint, where the run is to go on."""
    found = _checkpoints_in(run_dir)
    if config.ckpt_path not in (None, "last"):
        raise ValueError(f"ckpt_path is {config.ckpt_path}: only 'last' is known")
    if config.ckpt_path and not found:
        raise FileNotFoundError(f"{run_dir} has no checkpoint to go on with: leave out --ckpt_path")
    if found and not config.ckpt_path:
        raise ValueError(
            f"{run_dir} holds checkpoints: go on with --ckpt_path last, or give another --run_dir"
        )
    return found[-1] if found else None


def _train(
    config: GRPORunConfig,
    run_dir: Path,
    checkpoint: Path | None,
    family_of: Callable[[GRPORunConfig, str], Family],
) -> Path:
    transformers = import_transformers()
    # Before the small model is taught, which takes minutes.
    asked = None if config.data == _SCENES else _asked(config)
    scorer = load_scorer(config.scorer) if config.scorer else None
    model = config.model
    if model == _SCENES:
        if int(os.environ.get("WORLD_SIZE") or 1) > 1:
            raise ValueError("the model of scenes is taught by one process: give --model FOLDER")
        model = str(scene_answerer(run_dir / "answerer", config.scene_answerer))
    family = family_of(config, model)
    opening = {**family.opening, **(config.trainer.get("model_init_kwargs") or {})}
    settings = trainer_settings(
        config.trainer | ({"model_init_kwargs": opening} if opening else {}),
        output_dir=str(run_dir),
        seed=config.seed,
        model_config=family.config,
    )
    if checkpoint is not None:
        check_rate(checkpoint, settings.learning_rate)
    questions = _rewarded(config, [*family.scenes] if asked is None else asked)
    if scorer is not None:
        scorer.to(settings.device)
    system = family.system if config.system is None else config.system
    trainer = trainer_class()(
        model,  # by name: the reference model of the KL term is read from there, too
        reward_funcs=[reward_function(scorer, form=config.form or family.form)],
        args=settings,
        train_dataset=make_dataset(questions, system=system),
        processing_class=family.processor,
    )
    trainer.remove_callback(transformers.trainer_callback.ProgressCallback)
    trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
    trainer.add_callback(_progress(transformers))
    print(f"{len(questions)} questions, {settings.num_generations} answers to each: {run_dir}")
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    out = run_dir / "model"
    trainer.save_model(str(out))
    if trainer.is_world_process_zero():
        _report(trainer.state.log_history, run_dir)
        print(f"model: {out}; measure it with")
        print(f"  {program('best_of_n')} {config.data} --model {out} --out DIR")
    return out


def _asked(config: GRPORunConfig) -> list[Question]:
    """Questions of files; entries that cannot be used are counted, and said."""
    questions, skipped = read_questions(config.data, image_root=config.image_root)
    for reason, count in skipped.items():
        warn(f"{count} entries of {config.data} are left out: {reason}")
    return questions


def _rewarded(config: GRPORunConfig, questions: Sequence[Question]) -> list[Question]:
    """Those whose answers can be rewarded; how many others there are is said."""
    kept = [q for q in questions if q.answer is not None and (config.scorer or q.kind != "open")]
    if len(kept) < len(questions):
        count = len(questions) - len(kept)
        warn(f"{count} questions are left out: no answer, or an open one without --scorer")
    if not kept:
        raise ValueError(f"{config.data} has no question with an answer: nothing can be rewarded")
    return kept


def _progress(transformers: Any) -> Any:
    """A bar with the mean reward, in the place of a line of twenty numbers a step."""

    class RewardBar(transformers.trainer_callback.ProgressCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if self.training_bar is not None and "reward" in (logs or {}):
                self.training_bar.set_postfix(reward=f"{logs['reward']:.3f}")

    return RewardBar()


def _report(history: Sequence[dict[str, Any]], run_dir: Path) -> None:
    """Write rewards by step as a table and a picture, and say how the mean reward went."""
    steps = [entry for entry in history if "reward" in entry]
    if not steps:
        return
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["step", *_LOGGED.values()])
    table.writerows([entry["step"], *(entry.get(name) for name in _LOGGED)] for entry in steps)
    write_text(run_dir / "rewards.csv", text.getvalue())
    width = max(1, len(steps) // 10)
    rewards = [entry["reward"] for entry in steps]
    smooth = [statistics.fmean(rewards[max(0, k - width + 1) : k + 1]) for k in range(len(steps))]
    lines = {
        "mean reward": [(entry["step"], entry["reward"]) for entry in steps],
        f"mean of {width}": [(e["step"], v) for e, v in zip(steps, smooth, strict=True)],
    }
    figure = line_figure(lines, xlabel="step", ylabel="reward", title="mean reward of a batch")
    save_figure(figure, run_dir / "rewards.png")
    first, last = statistics.fmean(rewards[:width]), statistics.fmean(rewards[-width:])
    print(f"mean reward: {first:.3f} (first {width} logged steps) to {last:.3f} (last {width})")
    print(f"curve: {run_dir / 'rewards.png'}, {run_dir / 'rewards.csv'}")
