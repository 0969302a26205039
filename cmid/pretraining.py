"""The pretraining command."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import lightning as L
from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from cmid.callbacks import (
    CollapseMonitor,
    CurvePicture,
    OnlineKNN,
    ReconstructionPicture,
    TrainingProgress,
)
from cmid.data.pretrain import PretrainData
from cmid.export import to_timm
from cmid.methods.choice import choose_method
from cmid.program import program
from cmid.run import RunCLI, SuggestingParser, is_first_process, millions


class MethodParser(SuggestingParser):
    """Parser of a command whose model names its class beside the class's own options."""

    def instantiate_classes(self, cfg: Namespace, **options: Any) -> Namespace:
        without = cfg.clone()
        without["model"].pop("class_path", None)
        return super().instantiate_classes(without, **options)


class PretrainCLI(RunCLI):
    """A method's parts, linked so that nothing has to be said twice.

    The method is CMID, or the `PretrainMethod` that ``--model.class_path`` names.
    """

    parser_class = MethodParser

    data = PretrainData
    description = "Pretrain a backbone."
    max_epochs = 200

    def __init__(self, args: list[str]) -> None:
        self.choice = choose_method(args)
        self.module = self.choice.method
        super().__init__(self.choice.arguments)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.add_argument(
            "--model.class_path",
            default=self.choice.class_path,
            help="Import path of the method; the options above are its own.",
        )
        parser.link_arguments("seed_everything", "model.seed", compute_fn=int)
        parser.add_lightning_class_args(OnlineKNN, "knn")
        parser.add_lightning_class_args(ReconstructionPicture, "reconstructions")
        parser.add_lightning_class_args(CollapseMonitor, "collapse")
        for source, target in (
            ("data.image_size", "model.img_size"),
            ("data.num_bands", "model.in_chans"),
            ("data.statistics", "model.statistics"),
        ):
            parser.link_arguments(source, target, apply_on="instantiate")

    def before_instantiate_classes(self) -> None:
        if is_first_process():
            for file, keys in self.choice.ignored.items():
                name = self.choice.method.__name__
                print(f"{file}: {name} has no model options {', '.join(keys)}")
        super().before_instantiate_classes()

    def own_callbacks(self) -> list[L.Callback]:
        return [TrainingProgress(), *super().own_callbacks(), CurvePicture()]

    def subject(self) -> str:
        encoder = self.model.encoders()[self.model.exported]
        return f"{type(self.model).__name__}: {encoder.name} ({millions(encoder)})"

    def images(self) -> str:
        return f"{super().images()}, {self.datamodule.num_bands} bands"

    def finish(self) -> Path:
        """Export the backbone of the last checkpoint, and say what came out."""
        folder = self.run_dir / "backbone"
        if not self.trainer.is_global_zero:
            return folder
        knn, score = self.callback(OnlineKNN), None
        if knn is not None and knn.scores and knn.initial is not None:
            score = (
                f"kNN accuracy {knn.scores[self.model.exported]:.3f}"
                f" (random initialisation: {knn.initial:.3f})"
            )
        checkpoint = self.told(score)
        if checkpoint is None:
            return folder
        to_timm(checkpoint, folder, overwrite=True)
        print(f"backbone: {folder}; load it with")
        print(f'  timm.create_model("local-dir:{folder}", pretrained=True)')
        print("evaluate it on your own labelled images, one folder a class:")
        print(f"  {program('evaluate')} {shlex.quote(str(folder))} DATA")
        return folder


def pretrain(args: list[str]) -> Path:
    """Run the command with these arguments; returns the folder of the exported backbone."""
    with PretrainCLI(args) as cli:
        cli.fit()
        return cli.finish()
