"""CMID, its parts and the baselines: same backbone, images and steps; frozen features afterwards.

    python -m benchmarks.baselines.compare --out runs/comparison --eurosat data/eurosat \\
        --ucm data/ucm/images --roads data/segmentation/roads --jobs 2

Each run trains and is measured in processes of its own. Runs whose scores lie in ``--out`` already
are not repeated, and training goes on from its last checkpoint: an interrupted comparison goes on
where it stopped. Writes ``comparison.md``, ``.json`` and ``.png``, and ``labels-*.png`` of curves.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from benchmarks.baselines.measures import (
    SCRATCH,
    MeasureOptions,
    as_words,
    described,
    open_roads,
    open_sets,
)
from benchmarks.baselines.rows import (
    ROWS,
    FailedRunError,
    Run,
    TrainingOptions,
    execute,
    folder_name,
    needs_lightly,
    read_rows,
    same_training,
    settings_of,
    train,
)
from benchmarks.baselines.tables import (
    Outcome,
    as_json,
    as_markdown,
    as_results,
    curves_of,
    leads,
)
from cmid.command_line import command
from cmid.evaluation import read_results
from cmid.files import write_json, write_text
from cmid.options import at_least, option
from cmid.visualization.saving import save_figure
from cmid.visualization.scores import label_figure, score_figure


@dataclass(frozen=True)
class CompareConfig(MeasureOptions, TrainingOptions):
    """What is compared, and with what.

    Attributes:
        out: folder of the runs, the tables and the pictures.
        rows: some of the rows (default: all).
        more: YAML file of further rows: names, each with a list of options of tools/pretrain.py.
        against: row that others are compared with (default: CMID, or the first row).
        seeds: a run of each row for each.
        jobs: runs at a time, sharing the cores.
    """

    out: Path = option()
    rows: tuple[str, ...] = option((), metavar="ROW")
    more: str | None = None
    against: str | None = None
    seeds: tuple[int, ...] = (0,)
    jobs: Annotated[int, at_least(1)] = 1


@command(
    CompareConfig,
    told=True,
    memory="--jobs, or data.batch_size in --extra",
    again="the same command goes on; finished runs are kept",
)
def main(config: CompareConfig, called: str) -> None:
    """Train and measure what is missing; write tables and pictures.

    Raises:
        FailedRunError: runs failed; the text names their logs. The others' tables are written.
        ModuleNotFoundError: the extra ``baselines`` is missing and rows need it.
        ValueError: unknown rows, or a file of further rows that is none.
    """
    known = {**ROWS, **(read_rows(config.more) if config.more else {})}
    chosen = _chosen(config.rows or tuple(known), known)
    against = _reference(config.against, chosen)
    if needs_lightly([known[row] for row in chosen]):
        import lightly  # noqa: F401  (at once, not after CMID's own runs)

    about = described(config, open_sets(config), open_roads(config))
    runs = [
        Run(row, seed, known[row], config.out / folder_name(row, seed))
        for row in chosen
        for seed in config.seeds
    ]
    with ThreadPoolExecutor(config.jobs) as pool:
        failed = [
            line for line in pool.map(lambda run: _complete(run, config, about), runs) if line
        ]
    whole = [run for run in runs if _measured(run, config, about)]
    outcomes = [own for row in chosen if (own := _outcome(row, whole)) is not None]
    if outcomes:
        _write(config.out, outcomes, against=against, command=called)
    if failed:
        raise FailedRunError(f"{len(failed)} of {len(runs)} runs failed: {'; '.join(failed)}")


def _chosen(rows: Sequence[str], known: dict[str, Any]) -> list[str]:
    unknown = [row for row in rows if row not in known]
    if unknown:
        raise ValueError(f"--rows {unknown[0]!r} is none of {', '.join(map(repr, known))}")
    return [*dict.fromkeys(rows)]


def _reference(against: str | None, chosen: Sequence[str]) -> str:
    if against is not None and against not in chosen:
        raise ValueError(f"--against {against!r} is none of the rows {', '.join(chosen)}")
    return against or ("CMID" if "CMID" in chosen else chosen[0])


def _complete(run: Run, config: CompareConfig, about: dict[str, Any]) -> str | None:
    """Train and measure a run as far as that is missing; what failed, in a line."""
    if _measured(run, config, about):
        return None
    threads = max((os.cpu_count() or 1) // config.jobs, 1)
    env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    words = ["--out", str(run.folder / "scores.json"), "--name", run.row, "--seed", str(run.seed)]
    try:
        if run.options is not None:
            train(run, config, config=config.config, device=config.device, env=env)
            words += ["--backbone", str(run.folder / "backbone")]
            words += ["--training", str(run.folder / "training.json")]
        print(f"measuring: {run}", flush=True)
        module = "benchmarks.baselines.measures"
        execute([module, *words, *as_words(config)], run.folder / "measures.txt", env=env)
    except (FailedRunError, ValueError, OSError) as error:
        return f"{run}: {error}"
    return None


def _measured(run: Run, config: CompareConfig, about: dict[str, Any]) -> bool:
    """Whether scores of the same training and measures on the same images lie there."""
    try:
        found = read_results(run.folder / "scores.json").about
    except (FileNotFoundError, ValueError):
        return False
    if run.options is not None:
        own = found.get("training")
        if not own or not same_training(own, settings_of(run, config, config=config.config)):
            return False
    return all(found.get(key) == value for key, value in about.items())


def _outcome(row: str, runs: Sequence[Run]) -> Outcome | None:
    results = {run.seed: read_results(run.folder / "scores.json") for run in runs if run.row == row}
    if not results:
        return None
    found = {seed: next(iter(each.found.values())) for seed, each in results.items()}
    return Outcome(row, found, {seed: each.about for seed, each in results.items()})


def _write(out: Path, outcomes: Sequence[Outcome], *, against: str, command: str) -> None:
    reference = next((each for each in outcomes if each.row == against), None)
    found = leads(outcomes, reference) if reference else []
    shown = as_markdown(outcomes, found, command=command)
    write_text(out / "comparison.md", shown)
    write_json(out / "comparison.json", as_json(outcomes, found, command=command))
    save_figure(score_figure(as_results(outcomes)), out / "comparison.png")
    for data in next(iter(outcomes[0].about.values()))["label_places"]:
        curves = curves_of(outcomes, data, scratch=SCRATCH)
        if curves is not None:
            save_figure(label_figure(curves), out / f"labels-{data}.png")
    print(shown)


if __name__ == "__main__":
    main()
