"""Fine-tune one or several backbones on all downstream tasks, and compare them in one report.

    python tools/benchmark.py --backbone runs/NAME/backbone --suite scenes --out runs/benchmark
    ... --labels 10 50 all --frozen --seeds 0 1     few labels, frozen backbones, spread over seeds
    ... --strides as-pretrained 32                  at the stride of pretraining, and at the usual

The last column is the first backbone's network from random weights, on the same schedule.
Finished runs in --out are kept and interrupted ones go on, if they were made with the same options,
configuration and backbone; others are an error. A run that fails does not stop the others. Writes
report.md and report.html (with painted predictions). Needs the extra openmmlab (make openmmlab).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cmid.command_line import command
from cmid.evaluation.config import label_count
from cmid.options import option


@dataclass(frozen=True)
class SuiteConfig:
    """Backbones and the downstream tasks that they are compared on.

    Attributes:
        backbone: what tools/train.py takes; one or several.
        suite: generated scenes, or real data.
        out: folder of the report.
        tasks: some of the suite's tasks (default: all).
        seeds: a run of each task for each.
        labels: learn from so many labelled training images (10 50 all): of each class in
            classification, as in tools/evaluate.py, and in all in other tasks; drawn by the seed,
            the same for every backbone, in as many steps as with all.
        frozen: also rows of frozen backbones, on which the heads alone learn.
        strides: rows of each stride of the backbones' last maps, random weights' alike;
            as-pretrained stands for those of the given backbones (output_stride of pretraining).
        cfg_options: overrides of every configuration.
    """

    backbone: tuple[str, ...] = option()
    suite: Literal["scenes", "real"] = "scenes"
    out: Path = option()
    tasks: tuple[str, ...] | None = option(None, metavar="TASK")
    seeds: tuple[int, ...] = (0,)
    labels: tuple[str, ...] = option(("all",), type=label_count, metavar="N")
    frozen: bool = False
    strides: tuple[Literal["as-pretrained", "8", "16", "32"], ...] = ("32",)
    cfg_options: tuple[str, ...] = option((), metavar="KEY=VALUE")


@command(
    SuiteConfig,
    told=True,
    memory="--cfg_options train_dataloader.batch_size=N, or recompute activations with"
    " model.backbone.with_cp=True there",
    again="the same command goes on; finished runs are kept",
)
def main(config: SuiteConfig, called: str) -> None:
    """Run what is missing, write the report.

    Raises:
        FailedRunError: runs failed; the text names their logs. The others' report is written.
    """
    from benchmarks.suite.comparison import run_suite

    run_suite(
        config.backbone,
        suite=config.suite,
        out=config.out.absolute(),
        names=config.tasks,
        seeds=config.seeds,
        labels=config.labels,
        frozen=config.frozen,
        strides=config.strides,
        options=config.cfg_options,
        command=called,
    )
