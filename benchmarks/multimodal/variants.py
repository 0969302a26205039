"""What each choice is worth: variants of the default run on scenes, at equal steps.

    python -m benchmarks.multimodal.variants --out runs/variants \\
        --backbone runs/cmid_resnet18_scenes/backbone

Perceivers of LHRS-Bot and of Nova, experts with and without their balance loss, levels, towers from
random weights and pretrained ones of one architecture, and a curriculum of three stages against all
at once. Finished runs are kept: an interrupted comparison goes on where it stopped. Writes
``variants.md``.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from benchmarks.seeds import over_seeds, seed_table
from cmid.checkpoints import identify
from cmid.command_line import command
from cmid.files import write_json, write_text
from cmid.options import at_least, option

# Stand for the pretrained backbone, for its architecture, and for the arguments of that.
_BACKBONE, _RANDOM, _ARGS = "BACKBONE", "ARCHITECTURE", "ARGUMENTS"
_TOWER = ("--model.network.tower.backbone", _BACKBONE)
_SAME = (
    *("--model.network.tower.backbone", f"random:{_RANDOM}"),
    *("--model.network.tower.model_args", _ARGS),
)
_EXPERTS = "--model.network.perceiver.experts"
_KINDS = "--data.source.init_args.kinds"
_FROZEN = ("--model.stage.trained", "[perceiver,language]")


def _stage(scenes: int) -> Sequence[str]:
    """Of a curriculum: scenes of its own, and a third of the warm-up."""
    return (
        *("--data.source.init_args.seed", str(scenes)),
        *("--model.optimizer.warmup_epochs", "0.02"),
    )


def _levels(levels: str, *, queries: str) -> Sequence[str]:
    """The default run reads two, with as many queries."""
    return (
        *("--model.network.tower.levels", levels),
        *("--model.network.perceiver.queries", queries),
    )


# Options of each stage of a row; a stage starts from the one before.
ROWS: dict[str, Sequence[Sequence[str]]] = {
    "Nova's perceiver, dense": [()],
    "LHRS-Bot's perceiver": [("--model.network.perceiver.kind", "lhrs_bot")],
    "Nova's, 4 experts": [(_EXPERTS, "{count: 4, chosen: 2, balance: 0.01}")],
    "the same without balance loss": [(_EXPERTS, "{count: 4, chosen: 2, balance: 0}")],
    "one level": [_levels("[3]", queries="[52]")],
    "three levels": [_levels("[2,3,4]", queries="[32,16,4]")],
    "pretrained tower": [_TOWER],
    "pretrained tower, frozen": [(*_TOWER, *_FROZEN)],
    "its architecture, random": [_SAME],
    "its architecture, random, frozen": [(*_SAME, *_FROZEN)],
    "three stages: captions, short answers, all": [
        (*_stage(11), _KINDS, "[caption]"),
        (*_stage(12), _KINDS, "[classification,cover,presence,comparison,urban]"),
        _stage(13),
    ],
}


class FailedRunError(RuntimeError):
    """A run that ended with an error."""


@dataclass(frozen=True)
class VariantsConfig:
    """What is trained.

    Attributes:
        out: folder of the runs and of the table.
        backbone: an exported one, for the rows of pretrained towers and of its architecture;
            without, they are left out.
        rows: some of the rows (default: all).
        seeds: a run of each row for each.
        steps: of each run, shared by the stages of a curriculum.
        questions: of each kind about unseen scenes.
        jobs: runs at a time.
        extra: further options of every run; must come last.
    """

    out: Path = option()
    backbone: str | None = None
    rows: tuple[str, ...] = option(tuple(ROWS), metavar="ROW", choices=list(ROWS))
    seeds: tuple[int, ...] = (0, 1)
    steps: Annotated[int, at_least(3)] = 200
    questions: Annotated[int, at_least(1)] = 300
    jobs: Annotated[int, at_least(1)] = 1
    extra: tuple[str, ...] = option((), nargs="...", type=None)


@command(
    VariantsConfig,
    memory="data.batch_size in --extra",
    again="the same command goes on; finished runs are kept",
)
def main(config: VariantsConfig) -> None:
    """Train what is missing; print the table as it grows, and write it.

    Raises:
        FailedRunError: a run failed; the text names its log.
    """
    rows = []
    for name in config.rows:
        asked = " ".join(word for stage in ROWS[name] for word in stage)
        if config.backbone is None and any(word in asked for word in (_BACKBONE, _RANDOM)):
            print(f"left out, as there is no --backbone: {name}")
        else:
            rows.append(name)
    runs = [(name, seed) for name in rows for seed in config.seeds]
    scores: dict[str, list[dict[str, float]]] = {}
    shown = "no row was trained"
    with ThreadPoolExecutor(config.jobs) as pool:
        found = pool.map(lambda run: _train(run[0], run[1], config), runs)
        for (name, _), measured in zip(runs, found, strict=True):
            scores.setdefault(name, []).append(measured)
            if len(scores[name]) < len(config.seeds):
                continue
            shown = seed_table("variant", {row: over_seeds(seeds) for row, seeds in scores.items()})
            write_text(config.out / "variants.md", shown + "\n")
    print(shown)


def _train(name: str, seed: int, config: VariantsConfig) -> dict[str, float]:
    """Scores by task of the last stage, and of all tasks the mean."""
    stages, start = ROWS[name], None
    stands_for = {_BACKBONE: config.backbone or ""}
    if config.backbone is not None:
        stored = identify(config.backbone)
        stands_for |= {_RANDOM: stored.architecture, _ARGS: json.dumps(dict(stored.model_args))}
    for number, options in enumerate(stages):
        folder = config.out / f"{_slug(name)}-{seed}" / f"stage{number + 1}"
        last = number == len(stages) - 1
        words = list(options)
        for placeholder, value in stands_for.items():
            words = [word.replace(placeholder, value) for word in words]
        words += ["--trainer.max_epochs", "-1", "--seed_everything", str(seed)]
        words += ["--trainer.max_steps", str(config.steps // len(stages))]
        words += ["--final_questions", str(config.questions if last else 0)]
        words += ["--run_dir", str(folder), *(["--model.start", start] if start else [])]
        _run([*words, *config.extra], folder, jobs=config.jobs)
        start = str(folder / "model")
    found = json.loads((folder / "scores/scores.json").read_text())["scores"]
    values = {
        f"{row['task']}, {row['score']}": float(row["value"])
        for row in found
        if row["value"] is not None  # a kind that was not asked
        and row["score"] != "relaxed match"  # what counts stands beside it
    }
    return {"mean": statistics.fmean(values.values()), **values}


def _run(words: Sequence[str], folder: Path, *, jobs: int) -> None:
    """One stage, unless the same one is there."""
    done = folder / "options.json"
    if done.is_file() and json.loads(done.read_text()) == list(words):
        return
    folder.mkdir(parents=True, exist_ok=True)
    log = folder.with_suffix(".log")
    print(f"training: {folder}", flush=True)
    with log.open("w") as file:
        command = [sys.executable, "tools/train_multimodal.py", *words]
        threads = max((os.cpu_count() or 1) // jobs, 1)
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        ended = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
    if ended.returncode:
        raise FailedRunError(f"a run failed; see {log}")
    write_json(done, list(words))


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)


if __name__ == "__main__":
    main()
