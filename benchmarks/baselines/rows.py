"""The rows of a comparison: what each is trained with, and how its training is run."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml

from cmid.data import ImageFolder
from cmid.data.text_files import read_text
from cmid.evaluation.identity import images_digest
from cmid.files import write_json
from cmid.options import at_least, option

_WEIGHTS = ("reconstruction", "contrastive", "local")


def _only(*kept: str) -> list[str]:
    return [part for w in _WEIGHTS if w not in kept for part in (f"--model.weights.{w}", "0")]


def _method(name: str) -> list[str]:
    return ["--model.class_path", f"benchmarks.baselines.{name}"]


# Options of tools/pretrain.py for each row; None is not trained.
ROWS: dict[str, list[str] | None] = {
    "random initialisation": None,
    "CMID": [],
    "CMID, BYOL branch": ["--model.agreement", "byol"],
    "contrastive + local": _only("contrastive", "local"),
    "contrastive + masked": _only("contrastive", "reconstruction"),
    "masked + local": _only("reconstruction", "local"),
    "contrastive": _only("contrastive"),
    "masked": _only("reconstruction"),
    "local": _only("local"),
    "SimMIM": _method("SimMIM"),
    "LeJEPA": _method("LeJEPA"),
    "SimCLR": _method("SimCLR"),
    "MoCo-v2": _method("MoCoV2"),
    "BYOL": _method("BYOL"),
    "DINO": _method("DINO"),
}
# Methods whose teacher moves like CMID's, and those with losses of lightly.
AVERAGED = {f"benchmarks.baselines.{name}" for name in ("MoCoV2", "BYOL", "DINO")}
LIGHTLY = AVERAGED | {"benchmarks.baselines.SimCLR"}


class FailedRunError(RuntimeError):
    """A run of the comparison ended with an error; the text names its log."""


@dataclass(frozen=True)
class TrainingOptions:
    """How every row is trained.

    Attributes:
        images: folder of the images of every run, in place of the configuration's.
        epochs: epochs of every run.
        max_time: DD:HH:MM:SS, the most that each run trains; schedules still follow --epochs.
        keep_checkpoints: keep the checkpoints of finished runs, and not only their backbones.
        extra: further options of every run; must come last.
    """

    images: str | None = None
    epochs: Annotated[int, at_least(1)] = 2
    max_time: str | None = None
    keep_checkpoints: bool = False
    extra: tuple[str, ...] = option((), nargs="...", type=None)


@dataclass(frozen=True)
class Run:
    """A row with a seed.

    Attributes:
        options: of tools/pretrain.py; None is not trained.
        folder: of the run and its scores.
    """

    row: str
    seed: int
    options: Sequence[str] | None
    folder: Path

    def __str__(self) -> str:
        return f"{self.row}, seed {self.seed}"


def folder_name(row: str, seed: int) -> str:
    """The name of a run's folder."""
    return f"{re.sub(r'[^A-Za-z0-9.+-]+', '_', row)}-{seed}"


def read_rows(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Rows of a YAML file, that maps names to lists of options of tools/pretrain.py.

    Example::

        CMID, sharper: [--model.temperature, 0.07]
        CMID, 512 epochs of warm-up: [--model.optimizer.warmup_epochs=512]

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is something else, or a name is taken; names the file.
    """
    try:
        content = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path}: give names of rows, each with a list of options")
    known = {folder_name(row, 0): row for row in ROWS}
    rows = {}
    for name, words in content.items():
        if not isinstance(name, str) or not re.search("[A-Za-z0-9]", name):
            raise ValueError(f"{path}: {name!r} is not a name of a row")
        if (taken := known.setdefault(folder_name(name, 0), name)) != name or name in ROWS:
            raise ValueError(f"{path}: row {name!r} is named like {taken!r}: choose another name")
        if not isinstance(words, list) or any(isinstance(word, list | dict) for word in words):
            raise ValueError(f"{path}: row {name!r} needs a list of options, such as [--a.b, 1]")
        rows[name] = [word if isinstance(word, str) else json.dumps(word) for word in words]
        if rows[name] and not rows[name][0].startswith("--"):
            raise ValueError(f"{path}: row {name!r} begins with {rows[name][0]!r}, not an option")
    return rows


def needs_lightly(rows: Sequence[Sequence[str] | None]) -> bool:
    """Whether a row's method has a loss of lightly."""
    return any(LIGHTLY & {*_words(own)} for own in rows if own)


def model_of(config: str) -> dict[str, Any]:
    """The model of a configuration of pretraining."""
    return yaml.safe_load(read_text(config))["model"]


def settings_of(run: Run, options: TrainingOptions, *, config: str) -> dict[str, Any]:
    """What tells the training of a row from others; where it runs does not."""
    own = run.options or ()
    written = json.dumps(yaml.safe_load(read_text(config)), sort_keys=True)
    return {
        "config": config,
        "config_digest": hashlib.sha256(written.encode()).hexdigest(),
        "images": options.images and Path(options.images).name,
        "images_digest": options.images and images_digest(ImageFolder(options.images)),
        "epochs": options.epochs,
        "max_time": options.max_time,
        "options": [*own, *_teacher(own, config), *options.extra],
        "seed": run.seed,
    }


def same_training(earlier: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether what is known of an earlier training is what is wanted of one.

    Records of earlier versions hold no digests; those are taken for the same.
    """
    return all(earlier.get(key, value) == value for key, value in wanted.items())


def train(
    run: Run, options: TrainingOptions, *, config: str, device: str, env: dict[str, str]
) -> None:
    """Train a row, or go on where it stopped; write ``training.json`` with what it cost.

    Args:
        config: configuration of the run. device: auto, cpu or cuda.
        env: environment of its process.

    Raises:
        FailedRunError: it failed; what it said is in ``log.txt``.
        ValueError: the folder holds a training with other options.
    """
    about = settings_of(run, options, config=config)
    path = run.folder / "training.json"
    earlier = json.loads(path.read_text()) if path.is_file() else {}
    if not same_training(earlier, about):
        raise ValueError(f"{run.folder} was trained with other options: give another --out")
    if earlier.get("finished") and (run.folder / "backbone").is_dir():
        return
    print(f"training: {run}", flush=True)
    words = ["--config", config, "--run_dir", str(run.folder), "--seed_everything", str(run.seed)]
    words += ["--trainer.max_epochs", str(options.epochs), "--trainer.accelerator", device]
    words += ["--trainer.devices", "1", "--data.num_workers", "0", "--knn.every_n_epochs", "0"]
    words += ["--data.knn_train", "null", "--data.knn_val", "null"]
    if options.max_time:
        words += ["--trainer.max_time", options.max_time]
    if options.images:
        words += ["--data.source.class_path", "cmid.data.ImageFolder"]
        words += ["--data.source.init_args.root", options.images]
    if any((run.folder / "checkpoints").glob("*.ckpt")):
        words += ["--ckpt_path", "last"]
    spent = earlier.get("seconds", 0.0) + _seconds_before_a_kill(earlier, run.folder)
    write_json(path, {**about, "finished": False, "seconds": spent, "started": time.time()})
    start = time.perf_counter()
    try:
        command = ["cmid", "pretrain", *words, *about["options"]]
        execute(command, run.folder / "log.txt", env=env)
    finally:
        seconds = spent + time.perf_counter() - start
        write_json(path, {**about, "finished": False, "seconds": seconds})
    cost = {"seconds": round(seconds, 1), "images_seen": _images_seen(run.folder)}
    write_json(path, {**about, "finished": True, **cost})
    if not options.keep_checkpoints:
        shutil.rmtree(run.folder / "checkpoints", ignore_errors=True)


def _seconds_before_a_kill(earlier: dict[str, Any], folder: Path) -> float:
    """What a training that was killed took until its last checkpoint, from where it goes on."""
    saved = [path.stat().st_mtime for path in (folder / "checkpoints").glob("*.ckpt")]
    return max(max(saved, default=0.0) - earlier.get("started", math.inf), 0.0)


def execute(words: Sequence[str], log: Path, *, env: dict[str, str]) -> None:
    """Run a module with options in a process of its own.

    Raises:
        FailedRunError: it ended with an error.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as stream:
        done = subprocess.run(
            [sys.executable, "-m", *words], stdout=stream, stderr=subprocess.STDOUT, env=env
        )
    if done.returncode:
        raise FailedRunError(f"see {log}")


def _words(options: Sequence[str]) -> list[str]:
    """Names and values one by one, also of ``--name=value``."""
    return [part for word in options for part in word.split("=", 1)]


def _teacher(own: Sequence[str], config: str) -> list[str]:
    """The momentum of CMID's teacher, for a row whose teacher moves like it."""
    momentum = (model_of(config).get("teacher") or {}).get("momentum")
    words = {*_words(own)}
    if momentum is None or not AVERAGED & words or "--model.momentum" in words:
        return []
    return ["--model.momentum", str(momentum)]


def _images_seen(folder: Path) -> int:
    """Images of all steps of a finished run on one device."""
    steps = json.loads((folder / "backbone" / "config.json").read_text())["cmid"]["global_step"]
    kept = max(
        (folder / "csv").glob("version_*/config.yaml"), key=lambda path: path.stat().st_mtime
    )
    settings = yaml.safe_load(kept.read_text())
    accumulated = settings.get("trainer", {}).get("accumulate_grad_batches", 1)
    return int(steps * settings["data"]["batch_size"] * accumulated)
