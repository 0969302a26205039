"""Evaluate image-text models: one task on your data, or a whole suite with a report.

    python tools/evaluate_clip.py zero_shot    FOLDER        --model SPEC [SPEC ...]
    python tools/evaluate_clip.py retrieval    CAPTIONS      --model SPEC
    python tools/evaluate_clip.py segmentation FOLDER        --model SPEC --vocabulary LIST
    python tools/evaluate_clip.py regions      COCO.json     --model SPEC
    python tools/evaluate_clip.py --suite scenes|real --model SPEC [SPEC ...] --out DIR

SPEC is a folder that tools/train_clip.py exports, a checkpoint (.ckpt), NAME of an open_clip model
(untrained), or NAME:TAG or NAME:FILE.safetensors for its weights. All data may be 'scenes', which
are generated. --out DIR writes report.md, report.html (with painted maps) and results.json.
'python tools/evaluate_clip.py TASK --help' tells the options of a task.
Needs the extra vision-language; configurations of mmsegmentation need the extra openmmlab.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.vision_language.outcome import EvaluationConfig, ModelsConfig
from benchmarks.vision_language.tasks import Regions, Retrieval, Segmentation, ZeroShot, suite
from cmid.boundary import error_boundary
from cmid.command_line import parse, split_verb
from cmid.options import option
from cmid.program import program

TASKS: dict[str, type] = {
    "zero_shot": ZeroShot,
    "retrieval": Retrieval,
    "segmentation": Segmentation,
    "regions": Regions,
}


@dataclass(frozen=True)
class SuiteConfig:
    """All tasks, instead of one.

    Attributes:
        suite: data of the suite: generated scenes, or real data.
        data_root: folder of the data of --suite real.
    """

    suite: Literal["scenes", "real"] = option()
    data_root: str = "data"


@dataclass(frozen=True)
class SuiteEvaluationConfig(EvaluationConfig):
    """What the evaluations of a suite share: they need a place for their report."""

    out: Path = option(metavar="DIR")


def parse_arguments(arguments: Sequence[str]) -> tuple[Any, ModelsConfig, EvaluationConfig, bool]:
    """The task or suite, the models, what evaluations share, and whether tracebacks are wanted."""
    task, left = split_verb(TASKS, arguments)
    asked, models, options, traceback = parse(
        TASKS[task] if task else SuiteConfig,
        ModelsConfig,
        EvaluationConfig if task else SuiteEvaluationConfig,
        arguments=left,
        verb=f"evaluate_clip {task}" if task else "evaluate_clip",
        description=__doc__,
    )
    return asked, models, options, traceback


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, evaluate, print tables, write the report."""
    given = sys.argv[1:] if arguments is None else [*arguments]
    asked, models, options, traceback = parse_arguments(given)
    with error_boundary(
        traceback=traceback, memory="--batch_size", again="run the same command again"
    ):
        # After parsing: --help and typing errors answer at once.
        from benchmarks.vision_language.loading import loader
        from benchmarks.vision_language.suite import run_evaluations

        whole = isinstance(asked, SuiteConfig)
        tables = run_evaluations(
            suite(asked.suite, asked.data_root) if whole else [asked],
            models.model,
            load=loader(models),
            options=options,
            skip_missing=whole,
            title=f"Image-text models: {asked.suite if whole else asked.task}",
            command=f"{program('evaluate_clip')} {shlex.join(given)}",
        )
        print(tables)
        if options.out is not None:
            print(f"\nreport: {options.out / 'report.html'}")
