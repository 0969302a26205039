"""The command that trains a CLIP: LightningCLI like that of pretraining."""

from __future__ import annotations

import shlex
from pathlib import Path

import lightning as L
from lightning.pytorch.cli import LightningArgumentParser

from cmid.callbacks import CurvePicture, TrainingProgress
from cmid.program import program
from cmid.run import RunCLI, millions
from cmid.vision_language.callbacks import CutCaptions, LeftOutRegions, OnlineZeroShot
from cmid.vision_language.clip.storage import export_checkpoint
from cmid.vision_language.data import ImageTextData
from cmid.vision_language.farslip.module import FarSLIP


class TrainCLIPCLI(RunCLI):
    """FarSLIP's module and its data."""

    module = FarSLIP
    data = ImageTextData
    description = "Train a CLIP on images, texts and regions (FarSLIP)."
    max_epochs = 1

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.link_arguments("seed_everything", "model.seed", compute_fn=int)
        parser.set_defaults({"run_dir": "runs/clip", "throughput.images_key": "images"})
        parser.add_lightning_class_args(OnlineZeroShot, "zero_shot")

    def own_callbacks(self) -> list[L.Callback]:
        curves = CurvePicture(scores="zero_shot", title="zero-shot accuracy")
        return [
            TrainingProgress(title="training"),
            CutCaptions(),
            LeftOutRegions(),
            *super().own_callbacks(),
            curves,
        ]

    def subject(self) -> str:
        return f"FarSLIP: {self.config['model']['clip']['name']} ({millions(self.model.clip)})"

    def finish(self) -> Path:
        """Write the CLIP of the last checkpoint, and say what came out."""
        folder = self.run_dir / "clip"
        if not self.trainer.is_global_zero:
            return folder
        zero_shot, score = self.callback(OnlineZeroShot), None
        if zero_shot is not None and zero_shot.score is not None:
            start = "unknown" if zero_shot.initial is None else f"{zero_shot.initial:.3f}"
            score = f"zero-shot accuracy {zero_shot.score:.3f} (at the start: {start})"
        checkpoint = self.told(score)
        if checkpoint is None:
            return folder
        export_checkpoint(checkpoint, folder)
        print(f"CLIP: {folder}; evaluate it with")
        spec = shlex.quote(str(folder))
        print(f"  {program('evaluate_clip')} --suite scenes --model {spec} --out DIR")
        print(f'or load it with open_clip.create_model("local-dir:{folder}")')
        return folder


def train_clip(args: list[str]) -> Path:
    """Run the command with these arguments; returns the folder of the CLIP."""
    with TrainCLIPCLI(args) as cli:
        cli.fit()
        return cli.finish()
