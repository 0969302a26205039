"""The fine-tuning command: configuration, run folder, resumption, results."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from benchmarks.classification.data import ClassificationData
from benchmarks.classification.module import FineTuning
from benchmarks.classification.results import write_results
from cmid.callbacks import KeepCheckpoints, TrainingProgress, resolve_checkpoint
from cmid.callbacks.checkpoint import AtomicCheckpointIO, free_run_dir
from cmid.run import SuggestingParser, default_precision


class FinetuneCLI(LightningCLI):
    """LightningCLI with the parts of fine-tuning, linked so that nothing is said twice."""

    def __init__(self, args: list[str]) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
            super().__init__(
                FineTuning,
                ClassificationData,
                run=False,
                args=args,
                parser_class=SuggestingParser,
                seed_everything_default=0,
                trainer_defaults={"max_epochs": 200},
                save_config_kwargs={"overwrite": True},
                parser_kwargs={
                    "description": "Fine-tune a backbone for scene classification.",
                    "allow_abbrev": False,
                },
            )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--run_dir", default="runs/finetune", help="Folder of all output.")
        parser.add_argument(
            "--ckpt_path", type=str | None, default=None, help="Resume: a checkpoint, or 'last'."
        )
        parser.add_lightning_class_args(KeepCheckpoints, "checkpoints")
        for source, target in (
            ("data.classes", "model.classes"),
            ("data.size", "model.img_size"),
            ("data.num_bands", "model.in_chans"),
        ):
            parser.link_arguments(source, target, apply_on="instantiate")
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        settings, resumed = self.config_init["trainer"], self.config_init["ckpt_path"]
        run_dir = Path(self.config_init["run_dir"])
        self.ckpt_path: Path | None = None
        if resumed:
            self.ckpt_path = resolve_checkpoint(resumed, run_dir)
            run_dir = self.ckpt_path.parent.parent
        else:
            run_dir = free_run_dir(run_dir)
        self.run_dir = run_dir
        loggers = [CSVLogger(run_dir, name="csv"), TensorBoardLogger(run_dir, name="tensorboard")]
        return super().instantiate_trainer(
            **kwargs,
            default_root_dir=str(run_dir),
            precision=settings["precision"] or default_precision(),
            logger=loggers if settings["logger"] is None else settings["logger"],
            callbacks=[*(settings["callbacks"] or []), TrainingProgress(title="fine-tuning")],
            plugins=[*(settings["plugins"] or []), AtomicCheckpointIO()],
            enable_model_summary=bool(settings["enable_model_summary"]),
        )


def finetune(args: list[str]) -> Path:
    """Train, test, write the results; returns the run's folder."""
    cli = FinetuneCLI(args)
    cli.trainer.fit(
        cli.model,
        cli.datamodule,
        ckpt_path=None if cli.ckpt_path is None else str(cli.ckpt_path),
        weights_only=True,
    )
    cli.trainer.test(cli.model, cli.datamodule, verbose=False, weights_only=True)
    if cli.trainer.is_global_zero:
        settings = cli.config["model"]
        about = {
            "backbone": settings["backbone"],
            "frozen": settings["frozen"],
            "train_images": len(cli.datamodule.train),
            "test_images": len(cli.datamodule.test),
            "epochs": int(cli.trainer.current_epoch),
        }
        write_results(cli.run_dir, cli.model.result, cli.model.classes, about)
        print(f"accuracy {float(cli.model.result['accuracy']):.4f}, macro F1", end=" ")
        print(f"{float(cli.model.result['macro_f1']):.4f} on {about['test_images']} images")
        print(f"results.json, classes.csv and confusion.png are in {cli.run_dir}")
    return cli.run_dir
