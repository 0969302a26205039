"""The fine-tuning command: a run as in pretraining, then the test and its results."""

from __future__ import annotations

from pathlib import Path

import lightning as L
from lightning.pytorch.cli import LightningArgumentParser

from benchmarks.classification.data import ClassificationData
from benchmarks.classification.module import FineTuning
from benchmarks.classification.results import write_results
from cmid.callbacks import TrainingProgress
from cmid.run import RunCLI, millions


class FinetuneCLI(RunCLI):
    """The parts of fine-tuning, linked so that nothing is said twice."""

    module = FineTuning
    data = ClassificationData
    description = "Fine-tune a backbone for scene classification."
    max_epochs = 200

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        # A batch is a pair; its first entry holds the images.
        parser.set_defaults({"run_dir": "runs/finetune", "throughput.images_key": 0})
        for source, target in (
            ("data.classes", "model.classes"),
            ("data.size", "model.img_size"),
            ("data.num_bands", "model.in_chans"),
        ):
            parser.link_arguments(source, target, apply_on="instantiate")

    def own_callbacks(self) -> list[L.Callback]:
        return [TrainingProgress(title="fine-tuning")]

    def subject(self) -> str:
        frozen = ", frozen" if self.model.frozen else ""
        name = self.config["model"]["backbone"]
        return f"fine-tuning: {name} ({millions(self.model.network)}{frozen})"

    def images(self) -> str:
        data = self.datamodule
        size = f"{data.size} x {data.size} pixels"
        return f"{len(data.train)} images of {size}, {len(data.classes)} classes"

    def finish(self) -> Path:
        """Test, write the results, and say what came out; returns the run's folder."""
        self.trainer.test(self.model, self.datamodule, verbose=False, weights_only=True)
        if not self.trainer.is_global_zero:
            return self.run_dir
        result = getattr(self.model, "result", None)
        if result is None:
            print("nothing is tested: trainer.limit_test_batches leaves no images")
            return self.run_dir
        settings = self.config["model"]
        about = {
            "backbone": settings["backbone"],
            "frozen": settings["frozen"],
            "train_images": len(self.datamodule.train),
            "test_images": len(self.datamodule.test),
            "epochs": int(self.trainer.current_epoch),
        }
        write_results(self.run_dir, result, self.model.classes, about)
        print(
            f"accuracy {float(result['accuracy']):.4f}, macro F1"
            f" {float(result['macro_f1']):.4f} on {about['test_images']} images"
        )
        print(f"results.json, classes.csv and confusion.png are in {self.run_dir}")
        return self.run_dir


def finetune(args: list[str]) -> Path:
    """Train, test, write the results; returns the run's folder."""
    with FinetuneCLI(args) as cli:
        cli.fit()
        return cli.finish()
