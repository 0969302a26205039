"""Several backbones, measured by their frozen features on the same images."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

import torch
from lightning.fabric import Fabric

from cmid.checkpoints.backbones import load_backbone
from cmid.data.source import ImageSource
from cmid.data.splits import SubsetSource, open_split
from cmid.evaluation.cache import cached_features
from cmid.evaluation.config import ComparisonConfig
from cmid.evaluation.multilabel import read_multilabels
from cmid.evaluation.tasks import SINGLE_LABEL, Labelled, MeasureConfig, measure
from cmid.files import write_json
from cmid.reporting import Row, Table, markdown_table

_AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
_SEVERAL = "it needs one label an image"


def compare_backbones(config: ComparisonConfig) -> None:
    """Evaluate every backbone; print a table and write ``config.out``.

    What cannot be measured is left out, with a line on the error stream; ``config.out`` grows with
    every backbone.

    Raises:
        ValueError, OSError, ImportError: with a one-line message.
        Exception: the first unexpected failure, once all the others' scores are out.
    """
    devices = config.devices if config.devices == "auto" else int(config.devices)
    if config.accelerator == "cpu" and devices == "auto":
        devices = 1
    fabric = Fabric(accelerator=config.accelerator, devices=devices)
    fabric.launch()
    train, test = open_split(config.data, config.test, seed=config.seed)
    labels = None
    if config.multilabel:
        labels = _multilabels(config.multilabel, train, test)
    settings = MeasureConfig(k=config.k, shots=config.shots, seeds=config.seeds, seed=config.seed)
    tasks = _possible(config.tasks, multilabel=labels is not None)
    results: dict[str, dict[str, float]] = {}
    left_out: dict[str, dict[str, str]] = {}
    failure: Exception | None = None
    for spec in config.backbones:
        try:
            parts = _features(fabric, spec, (train, test), config)
            if labels is not None:
                parts = (parts[0][0], labels[0]), (parts[1][0], labels[1])
            if not fabric.is_global_zero:
                continue
            found = measure(*parts, tasks, settings)
        except Exception as error:
            if fabric.world_size > 1 or len(config.backbones) == 1:
                raise
            # The others' scores are worth having; the error is raised behind them.
            failure = failure or error
            left_out[spec] = {"all": str(error)}
            continue
        results[spec], failure = found.scores, failure or found.error
        skipped = {name: _SEVERAL for name in config.tasks if name not in tasks}
        if skipped or found.left_out:
            left_out[spec] = skipped | found.left_out
        if config.out:
            about = {"data": config.data, "train_images": len(train), "test_images": len(test)}
            about |= {"left_out": left_out} if left_out else {}
            write_json(config.out, {**about, "results": results})
    if fabric.is_global_zero:
        _print(results, left_out, config.out)
    if failure is not None:
        raise failure


def _possible(tasks: Sequence[str], *, multilabel: bool) -> list[str]:
    """The tasks that the labels allow; all, if that would leave none."""
    kept = [task for task in tasks if not (multilabel and task in SINGLE_LABEL)]
    return kept or [*tasks]


def _print(
    results: Mapping[str, Mapping[str, float]],
    left_out: Mapping[str, Mapping[str, str]],
    out: str | None,
) -> None:
    if results:
        print(comparison_table(results))
        if out:
            print(f"wrote {out}")
    for spec, reasons in left_out.items():
        for name, reason in reasons.items():
            print(f"LEFT OUT: {spec}, {name}: {reason}", file=sys.stderr)


def comparison_table(results: Mapping[str, Mapping[str, float]]) -> str:
    """A Markdown table: a row a backbone, a column a measure; deviations stand behind means."""
    names = list(dict.fromkeys(name for scores in results.values() for name in scores))
    shown = [n for n in names if not n.endswith((" std", " l2", "without_match"))]
    rows = []
    for backbone, scores in results.items():
        cells = []
        for name in shown:
            cell = f"{scores[name]:.3f}" if name in scores else ""
            if f"{name} std" in scores:
                cell += f" ± {scores[f'{name} std']:.3f}"
            cells.append(cell)
        rows.append(Row(backbone, tuple(cells)))
    return markdown_table(Table(("backbone", *shown), tuple(rows)), aligned=True)


def _features(
    fabric: Fabric, spec: str, parts: Sequence[ImageSource], config: ComparisonConfig
) -> tuple[Labelled, Labelled]:
    backbone = load_backbone(
        spec, img_size=config.size, in_chans=parts[0].num_bands, seed=config.seed
    ).to(fabric.device)
    train, test = (
        cached_features(
            backbone,
            part,
            folder=config.cache,
            key=name,
            size=config.size or backbone.size,
            batch_size=config.batch_size,
            num_workers=config.num_workers,
            precision=_AUTOCAST.get(config.precision, torch.float32),
            rank=fabric.global_rank,
            world_size=fabric.world_size,
        )
        for name, part in zip(("train", "test"), parts, strict=True)
    )
    return train, test


def _multilabels(path: str, *parts: ImageSource) -> tuple[torch.Tensor, ...]:
    names = [_names(part) for part in parts]
    labels, _ = read_multilabels(path, [name for part in names for name in part])
    return labels.split([len(part) for part in names])


def _names(source: ImageSource) -> list[str]:
    if isinstance(source, SubsetSource):
        names = _names(source.source)
        return [names[index] for index in source.indices]
    paths = getattr(source, "paths", None)
    if paths is None:
        raise ValueError("--multilabel needs image files, whose names its rows give")
    return [os.fsdecode(bytes(path)) for path in paths]
