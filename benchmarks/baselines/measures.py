"""Measure the frozen features of one backbone as a comparison does.

    python -m benchmarks.baselines.measures runs/mine/backbone --out runs/mine/scores.json \\
        --eurosat data/eurosat --ucm data/ucm/images --roads data/segmentation/roads

Writes ``--out`` (JSON), the same as .csv, and the results of each image as .safetensors.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch

from benchmarks.baselines.rows import model_of
from cmid.checkpoints import load_backbone
from cmid.checkpoints.backbones import Backbone
from cmid.command_line import command
from cmid.data import open_split
from cmid.data.classes import known_labels
from cmid.data.segmentation import SegmentationFolder, select
from cmid.data.source import ImageSource
from cmid.data.splits import SubsetSource
from cmid.data.text_files import read_json
from cmid.evaluation import MeasureConfig, Results, Score, cached_features
from cmid.evaluation.config import LabelConfig, label_count
from cmid.evaluation.correspondence import correspondence_results
from cmid.evaluation.dense import dense_results
from cmid.evaluation.identity import images_digest
from cmid.evaluation.label_curve import frozen_hits, label_name, labelled_rows
from cmid.evaluation.tasks import Found, Labelled, measure
from cmid.options import at_least, option

SHOTS = (1, 5, 10)
SCRATCH = "from scratch, "


@dataclass(frozen=True)
class MeasureOptions:
    """What backbones are measured on, and how.

    Attributes:
        config: configuration of pretraining, which tells the architecture of random weights.
        eurosat: folder with train/ and val/; read at 64 pixels.
        ucm: labelled images to transfer to, divided 80/20; read at 128 pixels.
        roads: img_dir/ and ann_dir/; the first half of the images trains, the rest tests.
        labels: also curves of frozen accuracy over so many labelled images a class (1 5 10 50 all).
        scratch_steps: steps of supervised trainings of random weights, as another line of the
            curves, of three draws at most (default: none).
        draws: draws of labelled images, in few-shot classification and in curves.
        pairs: test images of each data set of which two crops are matched.
        device: cpu, cuda or auto.
        cache: folder for features; a second call with other measures reads them.
    """

    config: str = "configs/pretrain/cmid_resnet18_eurosat.yaml"
    eurosat: str = option()
    ucm: str | None = None
    roads: str | None = None
    labels: tuple[str, ...] = option((), type=label_count, metavar="N")
    scratch_steps: Annotated[int, at_least(0)] = 0
    draws: Annotated[int, at_least(1)] = 10
    pairs: Annotated[int, at_least(1)] = 500
    device: Literal["auto", "cpu", "cuda"] = "auto"
    cache: str | None = None


@dataclass(frozen=True)
class BackboneOptions(MeasureOptions):
    """The backbone that is measured.

    Attributes:
        backbone: anything tools/evaluate.py opens (default: random weights of --config).
        out: JSON file to write.
        name: name of its row.
        seed: random seed of random weights.
        training: JSON file about its training, to be kept with its scores.
    """

    backbone: str | None = None
    out: Path = option()
    name: str = "backbone"
    seed: int = 0
    training: str | None = None


@dataclass(frozen=True)
class LabelledSet:
    """Labelled images in two parts, read at ``size`` pixels."""

    name: str
    train: ImageSource
    test: ImageSource
    size: int


def open_sets(options: MeasureOptions) -> list[LabelledSet]:
    """The labelled images.

    Raises:
        FileNotFoundError, ValueError: as `open_split`.
    """
    sets = []
    for name, data, size in (("EuroSAT", options.eurosat, 64), ("UCM", options.ucm, 128)):
        if data is not None:
            train, test = open_split(data)
            sets.append(LabelledSet(name, train, test, size))
    return sets


def open_roads(options: MeasureOptions) -> SegmentationFolder | None:
    """The images with masks, if there are any.

    Raises:
        FileNotFoundError, ValueError: as `SegmentationFolder`.
    """
    return SegmentationFolder(options.roads, num_classes=2) if options.roads else None


def described(
    options: MeasureOptions, sets: Sequence[LabelledSet], roads: SegmentationFolder | None
) -> dict[str, Any]:
    """What tells measurements from others: the images, by name, and the options that count."""
    names = [f"{each.name} {images_digest(part)}" for each in sets for part in _parts(each)]
    root = Path(options.roads or "") / "img_dir"
    names += [str(path.relative_to(root)) for path in (roads.images if roads else ())]
    return {
        "test_digest": hashlib.sha256("\n".join(names).encode()).hexdigest(),
        "labels": [*options.labels],
        "scratch_steps": options.scratch_steps,
        "draws": options.draws,
        "pairs": options.pairs,
        "label_places": {
            each.name: {label_name(n): _place(n, each.train) for n in options.labels}
            for each in sets
        },
    }


def as_words(options: MeasureOptions) -> list[str]:
    """The command line of options."""
    words = []
    for each in fields(MeasureOptions):
        value = getattr(options, each.name)
        if value not in (None, ()):
            words += [f"--{each.name}", *map(str, value if isinstance(value, tuple) else [value])]
    return words


def random_weights(options: MeasureOptions, *, seed: int) -> Backbone:
    """The backbone of a configuration, untrained."""
    settings = model_of(options.config)
    more = settings.get("backbone_args") or {}
    return load_backbone(f"random:{settings['backbone']}", img_size=64, seed=seed, **more)


def measured(
    backbone: Backbone,
    options: MeasureOptions,
    sets: Sequence[LabelledSet],
    roads: SegmentationFolder | None,
) -> Found:
    """All scores of a backbone, which lies on the device to work on.

    Raises:
        ValueError: data that a measure cannot be made of.
    """
    found: Found = {}
    for each in sets:
        found |= {f"{each.name} {name}": own for name, own in _of_set(backbone, options, each)}
    if roads is not None:
        half = len(roads) // 2
        parts = select(roads, range(half)), select(roads, range(half, len(roads)))
        found["roads mIoU"] = dense_results(backbone, *parts, num_classes=2)["mIoU"]
    return found


def _of_set(
    backbone: Backbone, options: MeasureOptions, data: LabelledSet
) -> Iterator[tuple[str, Score | float]]:
    train, test = (
        _features(backbone, part, key=f"{data.name} {name}", size=data.size, options=options)
        for name, part in zip(("train", "test"), _parts(data), strict=True)
    )
    tasks = ["knn", "linear", "fewshot"]
    pooled = measure(train, test, tasks, MeasureConfig(shots=SHOTS, seeds=options.draws))
    if pooled.error is not None:
        raise pooled.error
    for name, reason in pooled.left_out.items():
        print(f"left out: {data.name} {name}: {reason}")
    yield from pooled.found.items()
    for count in options.labels:
        if count == "all" and isinstance(linear := pooled.found.get("linear"), Score):
            hits = [torch.from_numpy(linear.rows)]  # the same classifier
        else:
            draws = range(1 if count == "all" else options.draws)
            rows = [labelled_rows(train[1].cpu(), count, seed=seed) for seed in draws]
            hits = [frozen_hits(train, test, own, seed=seed) for seed, own in enumerate(rows)]
        yield label_name(count), Score("draws", torch.stack(hits, dim=1).cpu().numpy())
    chosen = np.unique(np.linspace(0, len(data.test) - 1, min(options.pairs, len(data.test))))
    pairs = SubsetSource(data.test, chosen.round().astype(np.int64))
    yield from correspondence_results(backbone, pairs, size=data.size).items()


def _from_scratch(
    options: BackboneOptions, data: LabelledSet, device: torch.device
) -> Iterator[tuple[str, Score]]:
    """Accuracies of random weights that are trained as a whole on some labelled images."""
    # Imported on use: torchvision's transforms take a second.
    from cmid.evaluation.training import train_and_test

    settings = LabelConfig(steps=options.scratch_steps)
    draws = min(options.draws, settings.draws)
    labels = torch.as_tensor(known_labels(data.train))
    for count in options.labels:
        hits = [
            train_and_test(
                random_weights(options, seed=options.seed).to(device),
                SubsetSource(data.train, labelled_rows(labels, count, seed=seed).tolist()),
                data.test,
                classes=len(data.train.classes),
                size=data.size,
                settings=settings,
                seed=seed,
            )
            for seed in range(1 if count == "all" else draws)
        ]
        yield label_name(count), Score("draws", torch.stack(hits, dim=1).numpy())


def _features(
    backbone: Backbone, part: ImageSource, *, key: str, size: int, options: MeasureOptions
) -> Labelled:
    features, labels = cached_features(backbone, part, folder=options.cache, key=key, size=size)
    device = backbone.standardize.mean.device
    return features.to(device), labels.to(device)


def _parts(data: LabelledSet) -> tuple[ImageSource, ImageSource]:
    return data.train, data.test


def _place(count: str, train: ImageSource) -> float:
    """Labelled images a class, on average where it is all of them."""
    return len(train) / len(train.classes) if count == "all" else float(count)


@command(BackboneOptions, memory="--pairs", again="run the same command again")
def main(options: BackboneOptions) -> None:
    """Measure one backbone and write its scores."""
    start, used = time.perf_counter(), time.process_time()
    chosen = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(chosen if options.device == "auto" else options.device)
    sets, roads = open_sets(options), open_roads(options)
    given = options.backbone
    backbone = load_backbone(given) if given else random_weights(options, seed=options.seed)
    found = measured(backbone.to(device), options, sets, roads)
    if given is None and options.scratch_steps:
        for each in sets:
            curve = _from_scratch(options, each, device)
            found |= {f"{each.name} {SCRATCH}{name}": own for name, own in curve}
    about = described(options, sets, roads)
    about["device"] = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    about["training"] = read_json(options.training) if options.training else None
    about["measuring"] = {
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(time.process_time() - used, 1),
    }
    results = Results(about)
    results.add(options.name, found)
    results.write(options.out)


if __name__ == "__main__":
    main()
