"""Checkpoints that survive a kill at any moment."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint beside its final name, flush it to disk, then rename it."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        partial = Path(f"{path}.part")
        partial.parent.mkdir(parents=True, exist_ok=True)
        super().save_checkpoint(checkpoint, partial, storage_options)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)


class KeepCheckpoints(ModelCheckpoint):
    """Save every ``every_n_steps`` optimizer steps and at the end, keep the last ``keep``.

    Args:
        every_n_steps: how often.
        keep: how many stay, at least 2: one to fall back on.
    """

    def __init__(self, every_n_steps: int = 500, *, keep: int = 3) -> None:
        if keep < 2:
            raise ValueError(f"keep = {keep}: keep at least 2 checkpoints, one to fall back on")
        super().__init__(
            filename="step-{step:08d}",
            monitor="step",
            mode="max",
            save_top_k=keep,
            every_n_train_steps=every_n_steps,
            auto_insert_metric_name=False,
        )

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.dirpath = str(Path(trainer.default_root_dir) / "checkpoints")
        super().setup(trainer, pl_module, stage)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        final = Path(str(self.dirpath)) / f"step-{trainer.global_step:08d}.ckpt"
        if not final.exists():
            trainer.save_checkpoint(final)


def resolve_checkpoint(ckpt_path: str, run_dir: str | os.PathLike[str]) -> Path:
    """Find the checkpoint to resume from, and make sure that it is whole.

    Args:
        ckpt_path: a path, or ``last`` for the newest one of the run.
        run_dir: of the run; ``last`` also looks at its later namesakes ``run_dir-2``, ...

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is truncated or damaged; the message names the one before it.
    """
    run_dir = Path(run_dir)
    if ckpt_path == "last":
        found = newest_checkpoints(run_dir)
        if not found:
            raise FileNotFoundError(
                f"--ckpt_path last: no checkpoint in {run_dir}/checkpoints; start without it"
            )
        path, older = found[0], found[1:]
    else:
        path = Path(ckpt_path)
        if not path.is_file():
            raise FileNotFoundError(f"--ckpt_path {path}: no such file")
        older = [other for other in newest_checkpoints(path.parent.parent) if other != path]
    problem = damage(path)
    if problem:
        whole = next((other for other in older if not damage(other)), None)
        remedy = f"resume with --ckpt_path {whole}" if whole else "no older one is left"
        raise ValueError(f"checkpoint {path} is damaged ({problem}): {remedy}")
    return path


def newest_checkpoints(run_dir: Path) -> list[Path]:
    """Checkpoints of a run and its namesakes ``run_dir-2``, ..., newest first."""
    folders = [run_dir, *run_dir.parent.glob(f"{run_dir.name}-[0-9]*")]
    found = [path for folder in folders for path in folder.glob("checkpoints/step-*.ckpt")]
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint file, ``None`` if nothing is; reads all of it."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        return str(error) or type(error).__name__
    return f"record {broken} fails its checksum" if broken else None


def free_run_dir(run_dir: str | os.PathLike[str]) -> Path:
    """The folder itself, or ``run_dir-2``, ``-3``, ... where it holds checkpoints already."""
    run_dir = Path(run_dir)
    candidate, number = run_dir, 1
    while any(candidate.glob("checkpoints/*.ckpt")):
        number += 1
        candidate = run_dir.with_name(f"{run_dir.name}-{number}")
    return candidate
