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


def run_task(
    task: Task,
    backbone: str,
    *,
    out: Path,
    settings: Mapping[str, Any],
    seed: int = 0,
    variant: Variant = PLAIN,
) -> Result:
    """Run a task unless its result lies in ``out`` already; an interrupted training goes on.

    Args:
        backbone: what ``CMIDBackbone`` takes.
        out: folder of the report.
        settings: see `benchmarks.suite.settings.settings_of`; its options override the
            configuration.
        variant: how to learn.

    Raises:
        FailedRunError: training or testing failed; names the log.
        ValueError: ``out`` holds a run with other settings.
    """
    folder = run_folder(out, task, backbone, variant, seed)
    take_folder(folder, settings)
    path = folder / "result.json"
    if path.is_file():
        stored = json.loads(path.read_text())
        told = {"pictures": tuple(stored["pictures"]), "variant": variant, "seed": seed}
        return Result(**stored | told)
    started = (folder / "last_checkpoint").is_file()
    common = ["--backbone", backbone, "--work_dir", str(folder)]
    options = [*task.options, *settings["options"]]
    overrides = ["--cfg_options", *options] if options else []
    begin = time.perf_counter()
    resume = ["--resume"] if started else []
    way = ["--seed", str(seed), *variant.arguments]
    train = ["train", task.config, *common, *way, *resume, *overrides]
    _call(train, folder / "train.log")
    checkpoint = (folder / "last_checkpoint").read_text().strip()
    pictures = folder / "pictures"
    common[-1] = str(folder / "test")
    test = ["test", task.config, checkpoint, *common, "--show_dir", str(pictures), *overrides]
    _call(test, folder / "test.log")
    result = Result(
        task.name,
        backbone,
        _score(folder / "test", task),
        0.0 if started else round(time.perf_counter() - begin, 1),
        tuple(str(p.relative_to(out)) for p in sorted(pictures.rglob("*.*g"))),
        variant,
        seed,
    )
    write_json(path, asdict(result))
    return result


def run_folder(out: Path, task: Task, backbone: str, variant: Variant, seed: int) -> Path:
    """Where a run lies below the report's folder."""
    return out / task.folder / folder_name(backbone) / variant.folder / f"seed-{seed}"


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
        raise FailedRunError(f"{folder}: no {key} among {', '.join(scores) or 'no scores'}")
    return float(scores[key]) * task.measure.scale
