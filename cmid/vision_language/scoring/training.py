"""The command that trains a scorer: LightningCLI like that of pretraining."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import lightning as L
from lightning.pytorch.cli import LightningArgumentParser

from cmid.callbacks import CurvePicture, TrainingProgress
from cmid.files import whole_file
from cmid.run import RunCLI, millions
from cmid.vision_language.scoring.config import ScorerConfig
from cmid.vision_language.scoring.held_out import HeldOutPreferences
from cmid.vision_language.scoring.module import ScorerTraining
from cmid.vision_language.scoring.preference_data import PreferenceData
from cmid.vision_language.scoring.starting import check_start
from cmid.vision_language.scoring.storage import save_scorer


class TrainScorerCLI(RunCLI):
    """A scorer and its preferences."""

    module = ScorerTraining
    data = PreferenceData
    description = "Train a scorer of image-text pairs on preferences."
    max_epochs = 1

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.link_arguments("seed_everything", "model.seed", compute_fn=int)
        parser.set_defaults({"run_dir": "runs/scorer", "throughput.images_key": "images"})
        parser.add_lightning_class_args(HeldOutPreferences, "held_out")

    def before_instantiate_classes(self) -> None:
        """Name a start that is not there before data are read, which takes minutes."""
        check_start(ScorerConfig(**self.config["model"]["start"].as_dict()))
        super().before_instantiate_classes()

    def own_callbacks(self) -> list[L.Callback]:
        curves = CurvePicture(scores="preference", title="accuracy on held-out pairs")
        return [TrainingProgress(title="training"), *super().own_callbacks(), curves]

    def subject(self) -> str:
        scorer, parts = self.model.scorer, " + ".join(self.model.trained)
        return f"{type(scorer).__name__} ({millions(scorer)}), training {parts}"

    def images(self) -> str:
        source = self.datamodule.source
        return f"{len(source)} images of {type(source).__name__} with their preferences"

    def finish(self) -> Path:
        """Write the scorer and its held-out accuracy, and say what came out."""
        folder = self.run_dir / "scorer"
        if not self.trainer.is_global_zero:
            return folder
        held_out, score = self.callback(HeldOutPreferences), None
        if held_out is not None and held_out.last is not None:
            start = "unknown" if held_out.initial is None else f"{held_out.initial:.3f}"
            score = f"held-out accuracy {held_out.last} (at the start: {start})"
            with whole_file(self.run_dir / "held_out.json") as partial:
                partial.write_text(json.dumps(asdict(held_out.last), indent=2) + "\n")
        checkpoint = self.told(score)
        if checkpoint is None:
            return folder
        save_scorer(self.model.whole_scorer(checkpoint), folder)
        print(f"scorer: {folder}; load it with")
        print("  from cmid.vision_language.scoring.storage import load_scorer")
        print(f'  load_scorer("{folder}").score(images, texts)')
        return folder


def train_scorer(args: list[str]) -> Path:
    """Run the command with these arguments; returns the folder of the scorer."""
    with TrainScorerCLI(args) as cli:
        cli.fit()
        return cli.finish()
