"""The command that trains a multimodal model: LightningCLI like that of pretraining."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path

import lightning as L
from jsonargparse.typing import NonNegativeInt
from lightning.pytorch.cli import LightningArgumentParser

from cmid.callbacks import TrainingProgress
from cmid.multimodal.data import MultimodalData, SceneConversations
from cmid.multimodal.evaluation.asking import OwnModel
from cmid.multimodal.evaluation.measuring import evaluate
from cmid.multimodal.evaluation.picture import paint_answers
from cmid.multimodal.evaluation.suite import UNSEEN, scene_suite
from cmid.multimodal.folder import read_config, save_model
from cmid.multimodal.language import LanguageConfig, check_language
from cmid.multimodal.model import MultimodalModel
from cmid.multimodal.module import MultimodalTraining
from cmid.program import program
from cmid.reporting import markdown_table
from cmid.run import RunCLI, millions


class TrainMultimodalCLI(RunCLI):
    """The training module and its data."""

    module = MultimodalTraining
    data = MultimodalData
    description = "Train a multimodal language model."
    max_epochs = 1

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.link_arguments("seed_everything", "model.seed", compute_fn=int)
        parser.link_arguments(
            "data", "model.texts", compute_fn=MultimodalData.texts, apply_on="instantiate"
        )
        parser.add_argument(
            "--final_questions",
            type=NonNegativeInt,
            default=300,
            help="Questions of each kind about unseen scenes at the end of a run on scenes.",
        )
        parser.set_defaults({"run_dir": "runs/multimodal", "throughput.images_key": "images"})

    def before_instantiate_classes(self) -> None:
        """Name a model that is not there before data are read, which takes minutes."""
        settings = self.config["model"]
        if settings["start"] is not None:
            read_config(settings["start"])
        else:
            language = settings["network"]["language"]
            check_language(LanguageConfig(language["name"], language["tokenizer"]))
        super().before_instantiate_classes()

    def own_callbacks(self) -> list[L.Callback]:
        return [TrainingProgress(title="training"), *super().own_callbacks()]

    def subject(self) -> str:
        settings = self.config["model"]
        start = settings["start"] or settings["network"]["language"]["name"]
        return f"{start} ({millions(self.model)})"

    def finish(self) -> Path:
        """Write the model as a folder, and say what came out."""
        folder = self.run_dir / "model"
        if not self.trainer.is_global_zero:
            return folder
        exact = self.trainer.callback_metrics.get("val/exact")
        score = None if exact is None else f"answers that are right letter by letter: {exact:.3f}"
        if self.told(score) is None:
            return folder
        assert self.final_checkpoint is not None
        model = self.model.whole_model(self.final_checkpoint)
        source = self.datamodule.source
        told = {"boxes": asdict(source.boxes), "single_turn": source.single_turn}
        save_model(model, folder, provenance={"steps": self.trainer.global_step, **told})
        print(f"model: {folder}")
        self._measure(model, folder)
        print(f"chat with it: {program('chat')} {shlex.quote(str(folder))}")
        print(f"or start the next stage from it: --model.start {folder}")
        return folder

    def _measure(self, model: MultimodalModel, folder: Path) -> None:
        """Scores on unseen scenes and a picture, after a run on scenes."""
        source, count = self.datamodule.source, self.config["final_questions"]
        if not isinstance(source, SceneConversations) or not count:
            return
        suite = scene_suite(
            count,
            kinds=source.kinds,
            size=source.size,
            seed=UNSEEN,
            train_seed=source.seed,
            train_scenes=min(1000, len(source)),
        )
        device = self.trainer.strategy.root_device  # the trainer has moved it back
        outcome = evaluate(OwnModel(model.to(device), name=str(folder)), suite)
        outcome.write(self.run_dir / "scores")
        paint_answers(outcome, self.run_dir / "answers.png")
        print(markdown_table(outcome.table(), aligned=True))
        print(f"every answer: {self.run_dir / 'scores/predictions.jsonl'}")
        print(f"questions, answers and boxes: {self.run_dir / 'answers.png'}")


def train_multimodal(args: list[str]) -> Path:
    """Run the command with these arguments; returns the folder of the model."""
    with TrainMultimodalCLI(args) as cli:
        cli.fit()
        return cli.finish()
