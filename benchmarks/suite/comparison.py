"""Run a suite for several backbones."""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from tqdm import tqdm

from benchmarks.suite.report import About, as_text, write_report
from benchmarks.suite.rows import make_rows
from benchmarks.suite.runs import FailedRunError, Result, Run, execute
from benchmarks.suite.settings import backbone_digest, check_settings, settings_of
from benchmarks.suite.strides import USUAL, stride_facts, stride_options, strides_of
from benchmarks.suite.tasks import SUITES, Task
from benchmarks.suite.variants import Variant, labels_of, variants
from cmid.checkpoints import TimmEncoder, identify
from cmid.configurations import working_folder
from cmid.files import new_folder


def run_suite(
    backbones: Sequence[str],
    *,
    suite: str,
    out: Path,
    names: Sequence[str] | None = None,
    seeds: Sequence[int] = (0,),
    labels: Sequence[str] = ("all",),
    frozen: bool = False,
    strides: Sequence[str] = (str(USUAL),),
    options: Sequence[str] = (),
    command: str,
) -> None:
    """Run what is missing in ``out``, write the report, print its tables.

    A run that fails does not stop the others.

    Args:
        backbones: what ``CMIDBackbone`` takes; the first one's network, untrained, is added.
        suite: a key of `SUITES`; names: some of its tasks.
        labels: numbers of labelled training images, as words; ``all``.
        frozen: learn everything a second time, on frozen backbones.
        strides: of the backbones' last maps, see `strides_of`.
        options: ``key=value`` overrides of every configuration.
        command: what the report says how it was made.

    Raises:
        FileNotFoundError: a task's data, or a backbone, is missing.
        FailedRunError: at the end, runs failed; the text names their logs. The report of the
            others is written.
        ValueError: unknown task, more labels than it has, a stride that a backbone cannot have, or
            ``out`` holds runs with other settings; before the first run.
    """
    tasks = _chosen(suite, names)
    columns = list(dict.fromkeys([*backbones, untrained(backbones[0])]))
    for task in tasks:
        _require_data(task)
    laid = strides_of(strides, columns)
    ways = variants(labels, frozen=frozen, strides=laid)
    places = {}
    if any(way.labels != "all" for way in ways):
        places = {task.name: labels_of(task, labels, options) for task in tasks}
    runs = _runs(tasks, ways, columns, seeds, options=options, out=out)
    results, failed = _run_all(runs, suite)
    rows = make_rows(tasks, columns, results)
    if rows:
        facts = stride_facts(laid, columns)
        about = About(f"Downstream tasks, {suite}", command, facts, failed, len(runs))
        write_report(out, rows, columns, places=places, about=about)
        print(f"{as_text(rows, columns)}\nreport: {out / 'report.html'}")
    if failed:
        raise FailedRunError(f"{len(failed)} of {len(runs)} runs failed: {'; '.join(failed)}")


def untrained(backbone: str) -> str:
    """The name of a backbone's network with random weights: laid out and standardised alike.

    Raises:
        FileNotFoundError, ValueError: as `cmid.checkpoints.identify`.
    """
    stored = identify(backbone)
    kept = isinstance(stored, TimmEncoder)  # by name, its arguments are timm's own
    return f"random:{stored.architecture if kept else backbone.removeprefix('random:')}"


def _runs(
    tasks: Sequence[Task],
    ways: Sequence[Variant],
    backbones: Sequence[str],
    seeds: Sequence[int],
    *,
    options: Sequence[str],
    out: Path,
) -> list[Run]:
    """All runs of a suite; those that lie in ``out`` have to have their settings."""
    digests = {name: backbone_digest(name) for name in backbones}
    made = {}
    for task, stride in product(tasks, dict.fromkeys(way.stride for way in ways)):
        own = [*stride_options(task, stride, options), *options]
        made[task, stride] = settings_of(task, own)
    runs = [
        Run(task, name, seed, way, made[task, way.stride] | {"backbone": digests[name]}, out)
        for task, way, name, seed in product(tasks, ways, backbones, seeds)
    ]
    for run in runs:
        check_settings(run.folder, run.settings)
    return runs


def _run_all(runs: Sequence[Run], title: str) -> tuple[list[Result], list[str]]:
    """Results of runs, and of each that failed a line."""
    results, failed = [], []
    with tqdm(runs, desc=title, unit="run") as progress:
        for run in progress:
            progress.set_postfix_str(str(run))
            try:
                results.append(execute(run))
            except FailedRunError as error:
                failed.append(f"{run}: {error}")
                progress.write(f"failed: {failed[-1]}")
    return results, failed


def _chosen(suite: str, names: Sequence[str] | None) -> list[Task]:
    known = {task.name: task for task in SUITES[suite]}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ValueError(f"no task {unknown[0]!r} in suite {suite}: give {', '.join(known)}")
    return [known[name] for name in names or known]


def _require_data(task: Task) -> None:
    """Generate scenes that are missing; other data has to be there."""
    if task.data is None:
        return
    folder = working_folder() / task.data
    if folder.is_dir():
        found = (_scenes(folder, "train"), _scenes(folder, "val"))
        if task.writer is not None and found != (task.train, task.val):
            raise ValueError(
                f"{task.name}: {task.data} holds {found[0]} + {found[1]} scenes, not"
                f" {task.train} + {task.val}: move it away, and the suite generates its own"
            )
        return
    if task.writer is None:
        raise FileNotFoundError(
            f"{task.name}: no folder {task.data}; see the head of {task.config}"
        )
    write = pkgutil.resolve_name(task.writer)
    with new_folder(folder) as partial:
        write(partial, train=task.train, val=task.val, size=task.size, seed=0)


def _scenes(folder: Path, part: str) -> int:
    """How many scenes a part has, in any task's layout: files of one scene share its name."""
    return len({path.stem for path in folder.rglob(f"{part}/**/*") if path.is_file()})
