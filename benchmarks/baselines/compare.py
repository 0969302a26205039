"""CMID, its parts and the baselines: same backbone, images and steps; frozen features afterwards.

    python -m benchmarks.baselines.compare --out runs/comparison --eurosat data/eurosat \\
        --ucm data/ucm/images --roads data/segmentation/roads --jobs 2

Rows whose run or scores lie in ``--out`` already are not repeated: an interrupted comparison goes
on where it stopped. Writes ``comparison.md`` and ``comparison.png``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from matplotlib.figure import Figure

from benchmarks.seeds import Merged, over_seeds, seed_table
from cmid.checkpoints import load_backbone
from cmid.command_line import command
from cmid.data import open_split
from cmid.data.segmentation import SegmentationFolder, select
from cmid.evaluation import MeasureConfig, cached_features, evaluate
from cmid.evaluation.dense import dense_probe
from cmid.files import write_json, write_text
from cmid.options import at_least, option
from cmid.visualization.saving import save_figure

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
AVERAGED = ("MoCo-v2", "BYOL", "DINO")  # their teacher moves like CMID's
LIGHTLY = ("SimCLR", *AVERAGED)


class FailedRunError(RuntimeError):
    """Runs of the comparison that ended with an error."""


Scores = dict[str, dict[str, float]]


@dataclass(frozen=True)
class CompareConfig:
    """What is trained, and what it is measured on.

    Attributes:
        out: folder of the runs, the table and the picture.
        config: configuration of every run.
        eurosat: folder with train/ and val/.
        ucm: labelled images to transfer to, divided 80/20.
        roads: img_dir/ and ann_dir/; images 1-50 train, the rest test.
        rows: some of the rows (default: all).
        seeds: a run of each row for each.
        epochs: epochs of every run.
        jobs: runs at a time, sharing the cores.
        extra: further options of every run; must come last.
    """

    out: Path = option()
    config: str = "configs/pretrain/cmid_resnet18_eurosat.yaml"
    eurosat: str = option()
    ucm: str | None = None
    roads: str | None = None
    rows: tuple[str, ...] = option(tuple(ROWS), metavar="ROW", choices=list(ROWS))
    seeds: tuple[int, ...] = (0,)
    epochs: Annotated[int, at_least(1)] = 2
    jobs: Annotated[int, at_least(1)] = 1
    extra: tuple[str, ...] = option((), nargs="...", type=None)


@command(
    CompareConfig,
    memory="--jobs, or data.batch_size in --extra",
    again="the same command goes on; finished rows are kept",
)
def main(config: CompareConfig) -> None:
    """Train and measure what is missing; write table and picture.

    Raises:
        FailedRunError: runs failed; the text names their logs.
        ModuleNotFoundError: the extra ``baselines`` is missing and rows need it.
    """
    if set(LIGHTLY) & set(config.rows):
        import lightly  # noqa: F401  (at once, not after CMID's own runs)

    runs = [(row, seed) for row in config.rows for seed in config.seeds]
    with ThreadPoolExecutor(config.jobs) as pool:
        failed = [name for name in pool.map(lambda run: _train(config, *run), runs) if name]
    if failed:
        raise FailedRunError(f"{len(failed)} runs failed; see {', '.join(failed)}")
    scores = {row: [_scores(config, row, seed) for seed in config.seeds] for row in config.rows}
    merged = {row: over_seeds(each) for row, each in scores.items()}
    shown = seed_table("pretraining", merged)
    write_text(config.out / "comparison.md", shown + "\n")
    save_figure(picture(merged), config.out / "comparison.png")
    print(shown)


def _folder(config: CompareConfig, row: str, seed: int) -> Path:
    return config.out / f"{row.replace(' ', '_').replace(',', '')}-{seed}"


def _train(config: CompareConfig, row: str, seed: int) -> str | None:
    """Run one row unless its backbone is there; the log's path if it fails."""
    folder, own = _folder(config, row, seed), ROWS[row]
    if own is None or (folder / "backbone").is_dir():
        return None
    folder.mkdir(parents=True, exist_ok=True)
    threads = max((os.cpu_count() or 1) // config.jobs, 1)
    options = ["--config", config.config, "--run_dir", str(folder), "--seed_everything", str(seed)]
    options += ["--trainer.max_epochs", str(config.epochs), "--data.num_workers", "0"]
    options += ["--knn.every_n_epochs", "0", *own]
    teacher = _model_of(config.config).get("teacher") or {}
    if row in AVERAGED and "momentum" in teacher:
        options += ["--model.momentum", str(teacher["momentum"])]
    print(f"training: {row}, seed {seed}", flush=True)
    with (folder / "log.txt").open("w") as log:
        done = subprocess.run(
            [sys.executable, "tools/pretrain.py", *options, *config.extra],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )
    return str(folder / "log.txt") if done.returncode else None


def _model_of(config: str) -> dict[str, Any]:
    return yaml.safe_load(Path(config).read_text())["model"]


def _scores(config: CompareConfig, row: str, seed: int) -> dict[str, float]:
    """Measure one backbone, or read what was measured."""
    folder = _folder(config, row, seed)
    path = folder / "scores.json"
    if path.is_file():
        return json.loads(path.read_text())
    print(f"measuring: {row}, seed {seed}", flush=True)
    if ROWS[row] is None:
        settings = _model_of(config.config)
        more = settings.get("backbone_args") or {}
        backbone = load_backbone(f"random:{settings['backbone']}", img_size=64, seed=seed, **more)
    else:
        backbone = load_backbone(str(folder / "backbone"))
    scores: dict[str, float] = {}
    for name, data, size in (("EuroSAT", config.eurosat, 64), ("UCM", config.ucm, 128)):
        if data is None:
            continue
        train, test = (
            cached_features(backbone, part, folder=None, key=name, size=size)
            for part in open_split(data)
        )
        measured = evaluate(
            train, test, ["knn", "linear", "fewshot"], MeasureConfig(shots=(5,), seeds=10)
        )
        scores |= {f"{name} {task}": measured[task] for task in ("knn", "linear", "5-shot")}
    if config.roads:
        roads = SegmentationFolder(config.roads, num_classes=2)
        parts = select(roads, range(50)), select(roads, range(50, len(roads)))
        scores["roads mIoU"] = dense_probe(backbone, *parts, num_classes=2)["mIoU"]
    write_json(path, scores)
    return scores


def picture(rows: Mapping[str, Merged]) -> Figure:
    """One panel a measure, one bar a row."""
    names = list(next(iter(rows.values())))
    figure = Figure(figsize=(2.4 * len(names) + 1.5, 0.32 * len(rows) + 1.2), layout="constrained")
    axes = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    order = list(rows)[::-1]
    for axis, name in zip(axes, names, strict=True):
        means = [rows[row][name][0] for row in order]
        colours = ["#c0504d" if row.startswith("CMID") else "#7f8fa9" for row in order]
        axis.barh(order, means, xerr=[rows[row][name][1] for row in order], color=colours)
        margin = 0.1 * (max(means) - min(means) or 1)
        axis.set_xlim(min(means) - margin, max(means) + margin)
        axis.set_title(name, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()
