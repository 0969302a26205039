"""Checkpoints that survive a kill at any moment, and stay in the folder of their run."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.utils._pytree import tree_leaves

from cmid.files import megabytes, whole_file
from cmid.run_folder import CHECKPOINTS, checkpoints_in, home_of, newest_checkpoints, step_of


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint beside its final name, flush it to disk, then rename it.

    A write that fails leaves nothing behind, and earlier checkpoints as they are; on a full disk
    it raises an OSError of one line. Lightning's own holds a second copy of the checkpoint in
    memory and passes it through ``TMPDIR``, where it may not find room, and where a kill leaves it.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        with whole_file(path, need=_bytes(checkpoint)) as partial, partial.open("wb") as stream:
            torch.save(checkpoint, stream)
            stream.flush()
            os.fsync(stream.fileno())


class KeepCheckpoints(Checkpoint):
    """Save every ``every_n_steps`` optimizer steps and at the end, keep the last ``keep``.

    What is kept is counted in the run's own folder: a run that was moved, or goes on elsewhere,
    removes nothing of the folder that it came from.

    Args:
        every_n_steps: how often; 0 saves at the end only.
        keep: how many stay, at least 2: one to fall back on.
    """

    def __init__(self, every_n_steps: int = 500, *, keep: int = 3) -> None:
        if keep < 2:
            raise ValueError(f"keep = {keep}: keep at least 2 checkpoints, one to fall back on")
        if every_n_steps < 0:
            raise ValueError(f"every_n_steps = {every_n_steps}: at least 0, which is at the end")
        self.every_n_steps = every_n_steps
        self.keep = keep
        self.run_dir = Path()
        self.written: Path | None = None
        self._saved_step = -1
        self._room_checked = False

    @property
    def folder(self) -> Path:
        """Where checkpoints lie."""
        return self.run_dir / CHECKPOINTS

    def path_of(self, step: int) -> Path:
        """The checkpoint of an optimizer step."""
        return self.folder / f"step-{step:08d}.ckpt"

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        # The first process chose the folder; the others cannot know which number is free.
        self.run_dir = Path(trainer.strategy.broadcast(str(trainer.default_root_dir)))

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        present = trainer.is_global_zero and self.path_of(trainer.global_step).is_file()
        if trainer.strategy.broadcast(present):
            self._saved_step = trainer.global_step
        if trainer.is_global_zero:
            self._set_aside(trainer.global_step)
        loop, epochs = trainer.fit_loop, trainer.fit_loop.epoch_progress
        now: Any = epochs.current
        if loop.restarted_mid_epoch and now.ready == now.processed:
            # From a checkpoint of an epoch's last batch, Lightning (2.6) begins the next epoch
            # without counting it: resumed a second time, a run would train an epoch too many.
            epochs.increment_ready()
            epochs.increment_started()

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        step = trainer.global_step
        if _only_tries(trainer) or trainer.state.fn != TrainerFn.FITTING or step == 0:
            return
        if not self._room_checked and trainer.is_global_zero:
            self._check_room(trainer)
        if self.every_n_steps and step % self.every_n_steps == 0:
            self._save(trainer)
            if trainer.is_global_zero:
                for path in checkpoints_in(self.run_dir)[self.keep :]:
                    path.unlink()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not _only_tries(trainer):
            self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        # With accumulated gradients, several batches end at the same step.
        if self._saved_step != trainer.global_step:
            trainer.save_checkpoint(self.path_of(trainer.global_step))
            self._saved_step = trainer.global_step
        self.written = self.path_of(trainer.global_step)

    def _set_aside(self, step: int) -> None:
        """Move checkpoints of later steps, which this run will make anew, to a folder beside."""
        later = [path for path in checkpoints_in(self.run_dir) if (step_of(path) or 0) > step]
        if not later:
            return
        name, number = f"after-step-{step:08d}", 1
        while (folder := self.folder / (name if number == 1 else f"{name}-{number}")).exists():
            number += 1
        folder.mkdir()
        for path in later:
            path.rename(folder / path.name)
        print(f"{len(later)} checkpoints of steps after {step} were moved to {folder}")

    def _check_room(self, trainer: L.Trainer) -> None:
        """Say so where the disk is too small for what is to be kept; after the first step."""
        self._room_checked = True
        module, optimizers = trainer.lightning_module, trainer.optimizers
        state = [module.state_dict(), *(optimizer.state for optimizer in optimizers)]
        size = _bytes(state)
        missing = self.keep + 1 - min(self.keep, len(checkpoints_in(self.run_dir)))
        free = shutil.disk_usage(self.run_dir).free
        if free < missing * size:
            print(
                f"warning: {megabytes(free)} are free in {self.run_dir}, {missing} checkpoints need"
                f" about {megabytes(missing * size)}: make room, or lower checkpoints.keep"
            )


def resolve_checkpoint(ckpt_path: str, run_dir: str | os.PathLike[str]) -> Path:
    """Find the checkpoint to resume from, and make sure that it is whole.

    Args:
        ckpt_path: a path, or ``last`` for that of the last step of the run.
        run_dir: folder of the run; ``last`` means the last one of those that were started with this
            folder, which lie in ``run_dir``, ``run_dir-2``, ...

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is truncated or damaged; the message names the one before it.
    """
    run_dir = Path(run_dir)
    if ckpt_path == "last":
        found = newest_checkpoints(run_dir)
        if not found:
            raise FileNotFoundError(
                f"--ckpt_path last: no checkpoint in {run_dir}/{CHECKPOINTS}; start without it"
            )
        path, older = found[0], found[1:]
    else:
        path = Path(ckpt_path)
        if path.is_dir():
            raise FileNotFoundError(
                f"--ckpt_path {path} is a folder: give a file, or --run_dir {path} --ckpt_path last"
            )
        if not path.is_file():
            raise FileNotFoundError(f"--ckpt_path {path}: no such file")
        home = home_of(path)
        beside = [] if home is None else checkpoints_in(home)
        older = [p for p in beside if (step_of(p) or 0) < (step_of(path) or 0)]
    problem = damage(path)
    if problem:
        whole = next((other for other in older if not damage(other)), None)
        remedy = f"resume with --ckpt_path {whole}" if whole else "no older one is left"
        raise ValueError(f"checkpoint {path} is damaged ({problem}): {remedy}")
    return path


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint file, ``None`` if nothing is; reads all of it."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        return str(error) or type(error).__name__
    return f"record {broken} fails its checksum" if broken else None


def _only_tries(trainer: L.Trainer) -> bool:
    """Whether it is a trial of some batches, which leaves nothing."""
    return bool(getattr(trainer, "fast_dev_run", False))


def _bytes(value: Any) -> int:
    """Bytes of the tensors in nested values."""
    return sum(leaf.nbytes for leaf in tree_leaves(value) if isinstance(leaf, Tensor))
