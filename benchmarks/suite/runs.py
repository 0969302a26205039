"""One task on one backbone: train, test, paint, read the score."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.suite.settings import take_folder
from benchmarks.suite.tasks import Task
from benchmarks.suite.variants import PLAIN, Variant
from cmid.configurations import working_folder
from cmid.files import write_json


class FailedRunError(RuntimeError):
    """A run of a suite that failed or left no score; the text names its log."""


@dataclass(frozen=True)
class Result:
    """What a run left.

    Attributes:
        task: name of the task; backbone: specification as it was given.
        score: the task's measure, on its test data.
        seconds: training and testing; 0 where an interrupted run was continued.
        pictures: painted test images, relative to the report's folder.
        variant: how the task was learned; seed: random seed of training and of drawn labels.
    """

    task: str
    backbone: str
    score: float
    seconds: float
    pictures: tuple[str, ...]
    variant: Variant = PLAIN
    seed: int = 0


@dataclass(frozen=True)
class Run:
    """A task on a backbone.

    Attributes:
        backbone: what ``CMIDBackbone`` takes.
        settings: see `benchmarks.suite.settings.settings_of`; its options override the
            configuration.
        out: folder of the report.
    """

    task: Task
    backbone: str
    seed: int
    variant: Variant
    settings: Mapping[str, Any]
    out: Path

    @property
    def folder(self) -> Path:
        """Where it lies below the report."""
        name = folder_name(self.backbone)
        return self.out / self.task.folder / name / self.variant.folder / f"seed-{self.seed}"

    def __str__(self) -> str:
        return f"{self.task.name}, {self.variant}, {self.backbone}, seed {self.seed}"


def execute(run: Run) -> Result:
    """Run it unless its result lies in its folder already; an interrupted training goes on.

    Raises:
        FailedRunError: training or testing failed, or left nothing; names the log.
        ValueError: its folder holds a run with other settings.
    """
    task, folder = run.task, run.folder
    take_folder(folder, run.settings)
    path = folder / "result.json"
    if path.is_file():
        stored = json.loads(path.read_text())
        told = {"pictures": tuple(stored["pictures"]), "variant": run.variant, "seed": run.seed}
        return Result(**stored | told)
    started = (folder / "last_checkpoint").is_file()
    common = ["--backbone", run.backbone, "--work_dir", str(folder)]
    options = [*task.options, *run.settings["options"]]
    overrides = ["--cfg_options", *options] if options else []
    begin = time.perf_counter()
    resume = ["--resume"] if started else []
    way = ["--seed", str(run.seed), *run.variant.arguments]
    train = ["train", task.config, *common, *way, *resume, *overrides]
    _call(train, folder / "train.log")
    left = folder / "last_checkpoint"
    if not left.is_file():
        raise FailedRunError(f"train {task.config} left no checkpoint, see {folder / 'train.log'}")
    pictures = folder / "pictures"
    common[-1] = str(folder / "test")
    words = [task.config, left.read_text().strip(), *common, "--show_dir", str(pictures)]
    _call(["test", *words, *overrides], folder / "test.log")
    result = Result(
        task.name,
        run.backbone,
        _score(folder / "test", task),
        0.0 if started else round(time.perf_counter() - begin, 1),
        tuple(str(p.relative_to(run.out)) for p in sorted(pictures.rglob("*.*g"))),
        run.variant,
        run.seed,
    )
    write_json(path, asdict(result))
    return result


def folder_name(backbone: str) -> str:
    """A backbone's name as a folder: ``random:resnet18`` to ``random_resnet18``."""
    return re.sub(r"[^\w.-]+", "_", backbone).strip("_.")


def _call(arguments: Sequence[str], log: Path) -> None:
    verb, *rest = arguments
    with log.open("a") as file:
        done = subprocess.run(
            [sys.executable, "-m", "cmid", verb, *rest],
            cwd=working_folder(),
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    if done.returncode:
        last = log.read_text().strip().splitlines()[-1:]
        reason = "".join(last)
        raise FailedRunError(f"{verb} {rest[0]} failed, see {log}: {reason}")


def _score(folder: Path, task: Task) -> float:
    """The measure of the newest test below a work dir."""
    logs = sorted(folder.glob("*/*.json"))
    scores = json.loads(logs[-1].read_text()) if logs else {}
    key = task.measure.key
    if key not in scores:
        log = folder.with_name("test.log")
        found = ", ".join(scores) or "no scores"
        raise FailedRunError(f"test {task.config}: no {key} among {found}, see {log}")
    return float(scores[key]) * task.measure.scale
