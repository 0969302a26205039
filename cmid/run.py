"""A training run from the command line: configuration, run folder, resumption, loggers."""

from __future__ import annotations

import difflib
import errno
import inspect
import os
import re
import shutil
import signal
import sys
import warnings
from pathlib import Path
from pydoc import locate
from typing import Any, NoReturn, TypeVar

import lightning as L
import torch
import yaml
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.utilities import rank_zero_only

from cmid.callbacks import KeepCheckpoints, SkippedImages, ThroughputMonitor, resolve_checkpoint
from cmid.callbacks.checkpoint import AtomicCheckpointIO
from cmid.callbacks.record import RunRecord
from cmid.claimed_folder import ClaimedFolder
from cmid.console import quieten
from cmid.data.text_files import read_text
from cmid.files import NO_ROOM, NoRoomError, full_disk
from cmid.memory import keep_freed_memory
from cmid.resume import check_resumable, experiment
from cmid.run_folder import folder_to_go_on_in, new_run_folder
from cmid.trainer_options import as_list, fitting_callbacks, option_errors, refuse_unfit

_CONFIG = re.compile(r"(--config|-c)(=|$)")
Run = TypeVar("Run", bound="RunCLI")
Callback = TypeVar("Callback", bound=L.Callback)


class SuggestingParser(LightningArgumentParser):
    """Argument parser whose errors name the nearest key that exists."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if "Did you mean" not in message:  # errors of nested parsers pass here twice
            message += self.suggestion(message)
        if not self.exit_on_error:
            super().error(message, ex)
        # Without the usage: its hundred lines would hide this one.
        self.exit(2, f"error: {message}\n")

    def suggestion(self, message: str) -> str:
        """The nearest known keys for the keys that a message calls unknown."""
        known = {action.dest for action in self._actions if action.dest != "help"}
        known |= {key for action in self._actions for key in _keys_of_dataclass(action)}
        for class_path in re.findall(r"class_path '([\w.]+)'", message):
            known |= set(inspect.signature(locate(class_path)).parameters)  # type: ignore[arg-type]
        found = []
        for key in re.findall(r"[Kk]ey '([\w.-]+)'|--([\w.-]+)|[Oo]ption '([\w.-]+)'", message):
            name = next(filter(None, key)).removesuffix("=")
            candidates = known | {k.rsplit(".", 1)[-1] for k in known}
            spelled = name.replace("-", "_")
            if spelled in candidates:
                found += [spelled] if spelled != name else []
            else:
                found += difflib.get_close_matches(name, sorted(candidates), n=1, cutoff=0.6)
        return f". Did you mean: {', '.join(dict.fromkeys(found))}?" if found else ""


def _configurations(args: list[str]) -> list[Path]:
    """Files that a command line gives with ``--config``."""
    pairs = zip(args, [*args[1:], ""], strict=True)
    given = [arg.partition("=")[2] or following for arg, following in pairs if _CONFIG.match(arg)]
    return [Path(name) for name in given if os.path.isfile(name)]  # JSON in place of a name: False


def _keys_of_dataclass(action: Any) -> list[str]:
    fields = getattr(getattr(action, "_typehint", None), "__dataclass_fields__", {})
    return [f"{action.dest}.{field}" for field in fields]


class RunCLI(LightningCLI):
    """LightningCLI of one module and one datamodule, with what every run of ours has.

    Attributes:
        module, data: classes.
        description: description of the command, for its help.
        max_epochs: epochs where the configuration does not say.
    """

    parser_class = SuggestingParser
    module: type[L.LightningModule]
    data: type[L.LightningDataModule]
    description: str
    max_epochs: int

    def __init__(self, args: list[str]) -> None:
        quieten()
        self.claimed: ClaimedFolder | None = None
        self.ckpt_path: Path | None = None
        self._run_dir_stated = any(arg.partition("=")[0] == "--run_dir" for arg in args)
        for path in _configurations(args):
            read_text(path)  # names a file of another encoding, which the parser does not
        try:
            super().__init__(
                self.module,
                self.data,
                run=False,
                args=args,
                parser_class=self.parser_class,
                seed_everything_default=0,
                trainer_defaults={"max_epochs": self.max_epochs},
                save_config_kwargs={"overwrite": True},
                parser_kwargs={"description": self.description, "allow_abbrev": False},
            )
        except BaseException:
            self.__exit__()
            raise

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--run_dir",
            default="runs/pretrain",
            help="Folder of checkpoints, logs, pictures; DIR-2 where DIR holds checkpoints.",
        )
        parser.add_argument(
            "--ckpt_path",
            type=str | None,
            default=None,
            help="Go on: 'last' for the last checkpoint of run_dir, or a checkpoint's file, which"
            " goes on in the run folder it lies in, or in --run_dir where that is given, too.",
        )
        parser.add_argument(
            "--wandb",
            type=str | None,
            default=None,
            help="Also log to this Weights & Biases project.",
        )
        parser.add_lightning_class_args(KeepCheckpoints, "checkpoints")
        parser.add_lightning_class_args(ThroughputMonitor, "throughput")
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)

    def own_callbacks(self) -> list[L.Callback]:
        """Callbacks without settings of their own."""
        return [SkippedImages()]

    def before_instantiate_classes(self) -> None:
        """Find the run's folder before minutes are spent on models and data."""
        asked, resumed = Path(self.config["run_dir"]), self.config["ckpt_path"]
        self.run_dir, own = asked, None
        if resumed:
            self.ckpt_path = resolve_checkpoint(resumed, asked)
            own = folder_to_go_on_in(self.ckpt_path, asked, stated=self._run_dir_stated)
        if not is_first_process():  # its folder is that of the first process
            return
        self.claimed = new_run_folder(asked) if own is None else ClaimedFolder(own)
        self.run_dir = self.claimed.path
        if self.ckpt_path is not None:
            print(f"going on from {self.ckpt_path} in {self.run_dir}")
        elif self.run_dir != asked:
            print(f"{asked} holds another run's checkpoints: this run goes to {self.run_dir}")

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        settings = self.config_init["trainer"]
        refuse_unfit(settings)
        run_dir, record = self.run_dir, RunRecord()
        strategy = settings["strategy"]
        if strategy == "fsdp":
            # Sharded per parameter; checkpoints are whole files like those of other runs.
            strategy = ModelParallelStrategy(save_distributed_checkpoint=False)
        trainer = super().instantiate_trainer(
            **kwargs,
            strategy=strategy,
            default_root_dir=str(run_dir),
            precision=settings["precision"] or default_precision(),
            logger=self._loggers(run_dir) if settings["logger"] is None else settings["logger"],
            callbacks=fitting_callbacks(
                [*self.own_callbacks(), record], settings, given=settings["callbacks"]
            ),
            plugins=[*as_list(settings["plugins"]), AtomicCheckpointIO()],
            enable_model_summary=bool(settings["enable_model_summary"]),
        )
        config = yaml.safe_load(self.parser.dump(self.config, skip_none=False, format="yaml"))
        record.experiment = experiment(config, self.model) | {"processes": trainer.world_size}
        if self.ckpt_path is not None:
            sharded = isinstance(trainer.strategy, ModelParallelStrategy)
            for change in check_resumable(
                self.ckpt_path, self.model, record.experiment, sharded=sharded
            ):
                if trainer.is_global_zero:
                    print(f"changed: {change}")
        return trainer

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Any]) -> L.Trainer:
        with option_errors():
            return super()._instantiate_trainer(config, fitting_callbacks(callbacks, config))

    def _loggers(self, run_dir: Path) -> list[Logger]:
        loggers: list[Logger] = [
            CSVLogger(run_dir, name="csv"),
            TensorBoardLogger(run_dir, name="tensorboard"),
        ]
        if self.config_init["wandb"]:
            try:
                from lightning.pytorch.loggers import WandbLogger

                loggers.append(WandbLogger(project=self.config_init["wandb"], save_dir=run_dir))
            except ModuleNotFoundError as error:
                raise ModuleNotFoundError("--wandb needs: pip install 'cmid[wandb]'") from error
        return loggers

    def subject(self) -> str:
        """What is trained: the method, the network and its parameters, for the console."""
        return f"{type(self.model).__name__}, {millions(self.model)}"

    def images(self) -> str:
        """What it is trained on: how many images of what size, for the console."""
        data = self.datamodule
        kind, size = type(data.source).__name__, data.image_size
        return f"{len(data.source)} images of {kind}, views of {size} x {size} pixels"

    def fit(self) -> None:
        """Say what is trained on what; train, or go on training.

        Raises:
            KeyboardInterrupt: the user stopped it; the text says how to go on.
            NoRoomError: the disk is full.
        """
        self.tell()
        if self.trainer.strategy.root_device.type == "cpu":
            keep_freed_memory()
        try:
            with warnings.catch_warnings():
                # Earlier versions kept a list of paths there; what is kept is read from the folder.
                warnings.filterwarnings("ignore", message=r"(?s)Be aware .*KeepCheckpoints\{")
                self.trainer.fit(
                    self.model,
                    self.datamodule,
                    ckpt_path=None if self.ckpt_path is None else str(self.ckpt_path),
                    weights_only=True,
                )
        except SystemExit as error:  # Lightning makes an exit of an interruption
            if not self.trainer.interrupted:
                raise
            if type(error) is not SystemExit:  # SIGTERM, such as that of a cluster
                print(f"\n{self.how_to_go_on()}", file=sys.stderr)
                raise SystemExit(128 + signal.SIGTERM) from None
            raise KeyboardInterrupt(self.how_to_go_on()) from None
        except NoRoomError:
            raise
        except OSError as error:  # loggers and pictures of others do not say what they wrote
            room = shutil.disk_usage(self.run_dir).free
            if error.errno in NO_ROOM and (room < 1e6 or error.errno != errno.ENOSPC):
                raise full_disk(self.run_dir / "csv", error) from error
            raise
        if self._checkpoints is not None:
            self.run_dir = self._checkpoints.run_dir

    @rank_zero_only
    def tell(self) -> None:
        """Print what is trained on what, and how, in one line."""
        trainer, batch = self.trainer, self.datamodule.batch_size
        processes = f" x {trainer.world_size} processes" if trainer.world_size > 1 else ""
        limit = _count(trainer.max_epochs or -1, "epoch") if (trainer.max_epochs or -1) > 0 else ""
        if trainer.max_steps > 0:
            limit = " or ".join(filter(None, (_count(trainer.max_steps, "step"), limit)))
        print(
            f"{self.subject()}, on {self.images()}: batch {batch}{processes}, {limit or 'no end'},"
            f" {trainer.strategy.root_device.type} in {trainer.precision}",
            flush=True,
        )

    @property
    def final_checkpoint(self) -> Path | None:
        """The checkpoint that this process wrote last, or went on from where nothing was left."""
        written = self._checkpoints.written if self._checkpoints is not None else None
        return written or self.ckpt_path

    @property
    def _checkpoints(self) -> KeepCheckpoints | None:
        return self.callback(KeepCheckpoints)

    def __enter__(self: Run) -> Run:
        return self

    def __exit__(self, *error: object) -> None:
        """Let other processes write to the run's folder."""
        if self.claimed is not None:
            self.claimed.release()

    def told(self, score: str | None) -> Path | None:
        """Print what came out of the run; the checkpoint to export, None where there is none."""
        if score is not None:
            print(score)
        for picture in sorted(self.run_dir.glob("*.png")):
            print(f"picture: {picture}")
        if self.final_checkpoint is None:
            print(self.without_checkpoint())
        return self.final_checkpoint

    def callback(self, kind: type[Callback]) -> Callback | None:
        """The trainer's callback of a class."""
        callbacks = self.trainer.callbacks  # type: ignore[attr-defined]
        return next((each for each in callbacks if isinstance(each, kind)), None)

    def without_checkpoint(self) -> str:
        """What a run without a single checkpoint says in the place of an export."""
        settings, reason = self.config_init["trainer"], ""
        if settings["fast_dev_run"]:
            reason = "trainer.fast_dev_run only tries some steps"
        elif settings["enable_checkpointing"] is False:
            reason = "trainer.enable_checkpointing false keeps no checkpoint"
        return f"nothing is exported: {reason or f'no checkpoint in {self.run_dir}/checkpoints'}"

    def how_to_go_on(self) -> str:
        """What an interrupted run says last."""
        kept = sorted(self.run_dir.glob("checkpoints/step-*.ckpt"))
        text = f"interrupted at step {self.trainer.global_step}"
        if not kept:
            return (
                f"{text}, before the first checkpoint: start again"
                " (--checkpoints.every_n_steps N for earlier ones)"
            )
        return (
            f"{text}; go on from {kept[-1].stem} with the same command and --run_dir"
            f" {self.run_dir} --ckpt_path last"
        )


def millions(module: torch.nn.Module) -> str:
    """Parameters of a module, as text."""
    return f"{sum(p.numel() for p in module.parameters()) / 1e6:.1f} M parameters"


def default_precision() -> Any:
    """bf16 autocast on hardware that computes in it, else float32."""
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    return "bf16-mixed" if torch.cpu._is_avx512_bf16_supported() else "32-true"


def is_first_process() -> bool:
    """Whether this is the first process of a run, before there is a process group."""
    ranks = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")
    return not any(int(os.environ.get(name) or 0) for name in ranks)


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}" + ("s" if number != 1 else "")
