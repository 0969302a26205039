"""The command that trains a multimodal model: LightningCLI like that of pretraining."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import lightning as L
from lightning.pytorch.cli import LightningArgumentParser

from cmid.callbacks import TrainingProgress
from cmid.multimodal.data import MultimodalData
from cmid.multimodal.folder import save_model
from cmid.multimodal.module import MultimodalTraining
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
        parser.set_defaults({"run_dir": "runs/multimodal", "throughput.images_key": "images"})

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
        model = self.model.model
        source = self.datamodule.source
        told = {"boxes": asdict(source.boxes), "single_turn": source.single_turn}
        save_model(model, folder, provenance={"steps": self.trainer.global_step, **told})
        print(f"model: {folder}; ask it in Python with")
        print(f'  cmid.multimodal.load("{folder}").generate(["Describe the image."], ["FILE"])')
        print(f"or start the next stage from it: --model.start {folder}")
        return folder


def train_multimodal(args: list[str]) -> Path:
    """Run the command with these arguments; returns the folder of the model."""
    with TrainMultimodalCLI(args) as cli:
        cli.fit()
        return cli.finish()
