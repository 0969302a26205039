"""How many labels a backbone saves: accuracy over labels a class, frozen and fine-tuned."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.fabric import Fabric
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed import ProcessGroup
from tqdm import tqdm

from cmid.checkpoints.backbones import Backbone, load_backbone, untrained
from cmid.data.splits import SubsetSource
from cmid.evaluation.config import ComparisonConfig, LabelConfig
from cmid.evaluation.identity import fingerprint
from cmid.evaluation.linear import draw_of_each_class, fewest_of_a_class, linear_probe
from cmid.evaluation.score import Score
from cmid.evaluation.tasks import Found, Labelled
from cmid.evaluation.tested import TestedImages, autocast_dtype
from cmid.files import whole_file
from cmid.processes import gather_objects


@dataclass(frozen=True)
class _Fit:
    """A way to learn: hits of rows and a seed, number of draws, and what tells it from others."""

    hits: Callable[[Tensor, int], Tensor]
    draws: int
    key: str


class LabelCurves:
    """Accuracies of a backbone and of random weights of its architecture, by labels a class.

    Four lines: both, each with a linear probe on frozen features and trained as a whole. What
    random weights reach by training is supervised training from scratch, of as many steps. Draw
    ``s`` is of the same images on every line.

    Attributes:
        places: by the name of a number of labels, how many it is of a class (all: on average).

    Args:
        tested: images of one class each.
        config, settings: options of the command.
        group: of several processes, which share the draws: `cmid.processes.patient_group`.

    Raises:
        ValueError: images of several labels or numbers, or a class with fewer images than asked.
    """

    def __init__(
        self,
        tested: TestedImages,
        config: ComparisonConfig,
        settings: LabelConfig,
        *,
        group: ProcessGroup | None = None,
    ) -> None:
        if tested.labels is not None:
            raise ValueError("--labels needs images of one class each")
        self.tested, self.config, self.settings, self.group = tested, config, settings, group
        self.drawn: set[str] = set()
        train = tested.parts[0]
        every = len(train) / len(train.classes)
        self.places = {label_name(n): every if n == "all" else float(n) for n in settings.labels}

    def lines(self, fabric: Fabric, spec: str) -> Iterator[tuple[str, Found]]:
        """Names and scores of the lines of a backbone, as they come; none on other processes."""

        def given() -> Backbone:
            return load_backbone(
                spec,
                img_size=self.config.size,
                in_chans=self.tested.num_bands,
                seed=self.config.seed,
            ).to(fabric.device)

        def random() -> Backbone:
            return untrained(given(), seed=self.config.seed).to(fabric.device)

        name = f"random weights of {given().encoder.name}"
        starts = [(spec, given), (name, random)]
        if given().digest == random().digest:
            starts = starts[1:]
        for start, make in starts:
            if start in self.drawn:  # of the same architecture as a backbone before
                continue
            self.drawn.add(start)
            yield from self._lines(fabric, start, make)

    def _lines(
        self, fabric: Fabric, start: str, make: Callable[[], Backbone]
    ) -> Iterator[tuple[str, Found]]:
        train, test = self.tested.features(fabric, make())

        def frozen(rows: Tensor, seed: int) -> Tensor:
            return frozen_hits(train, test, rows, seed=seed)

        def whole(rows: Tensor, seed: int) -> Tensor:
            # Imported on use: torchvision's transforms take a second.
            from cmid.evaluation.training import train_and_test

            return train_and_test(
                make(),
                SubsetSource(self.tested.parts[0], rows.tolist()),
                self.tested.parts[1],
                classes=len(self.tested.parts[0].classes),
                size=self.config.size or make().size,
                settings=self.settings,
                seed=seed,
                num_workers=self.config.num_workers,
                precision=autocast_dtype(self.config),
                progress=f"{start}, {seed}" if fabric.is_global_zero else None,
            )

        own, trained = self.settings, "fine-tuned"
        if start.startswith("random weights"):
            trained = "from scratch"
        about = f"{make().digest} {self.config.size or make().size} {self.config.precision}"
        key = f"{about} whole {own.steps} {own.train_batch} {own.train_lr}"
        for mode, fit in (
            ("frozen", _Fit(frozen, self.config.seeds, f"{about} linear")),
            (trained, _Fit(whole, own.draws, key)),
        ):
            found: Found = {}
            for count in own.labels:
                title = f"{start}, {mode}, {label_name(count)}"
                found[label_name(count)] = self._score(fabric, fit, train[1], count, title=title)
            if fabric.is_global_zero:
                yield f"{start}, {mode}", found

    def _score(self, fabric: Fabric, fit: _Fit, labels: Tensor, count: str, *, title: str) -> Score:
        """Of all draws, of which each process fits its share."""
        draws = range(1 if count == "all" else fit.draws)
        rows = [labelled_rows(labels, count, seed=seed) for seed in draws]
        own = tqdm(
            draws[fabric.global_rank :: fabric.world_size],
            desc=title,
            unit="draw",
            disable=not fabric.is_global_zero,
        )
        shares = gather_objects([self._kept(fit, rows[seed], seed) for seed in own], self.group)
        hits = [shares[seed % len(shares)][seed // len(shares)] for seed in draws]
        return Score("draws", torch.stack(hits, dim=1).numpy())

    def _kept(self, fit: _Fit, rows: Tensor, seed: int) -> Tensor:
        """``(M,)`` hits, from --cache where they lie there."""
        if self.config.cache is None:
            return fit.hits(rows, seed).cpu()
        parts = " ".join(fingerprint(part) for part in self.tested.parts)
        name = hashlib.sha256(f"{fit.key} {seed} {rows.tolist()} {parts}".encode()).hexdigest()
        path = Path(self.config.cache) / f"labels-{name[:32]}.safetensors"
        if path.is_file():
            return load_file(path)["hits"]
        hits = fit.hits(rows, seed).cpu()
        with whole_file(path) as partial:
            save_file({"hits": hits}, partial)
        return hits


def labelled_rows(labels: Tensor, count: str, *, seed: int) -> Tensor:
    """Indices of the images of a draw: ``count`` of each class, or of all with ``all``.

    Raises:
        ValueError: a class with fewer images.
    """
    if count == "all":
        return torch.arange(len(labels))
    if (fewest := fewest_of_a_class(labels)) < int(count):
        raise ValueError(f"--labels {count} needs {count} images of every class, one has {fewest}")
    return draw_of_each_class(labels, int(count), seed=seed)


def frozen_hits(train: Labelled, test: Labelled, rows: Tensor, *, seed: int) -> Tensor:
    """``(M,)`` bool: which test images a linear probe of some training images classifies rightly.

    Args:
        train: ``(N, D)`` features and ``(N,)`` classes, of which ``rows`` are learned from.
        test: ``(M, D)`` and ``(M,)``.
    """
    logits, _ = linear_probe((train[0][rows], train[1][rows]), test[0], seed=seed)
    return logits.argmax(dim=1) == test[1]


def label_name(count: str) -> str:
    """The measure of a number of labels a class: ``1 label``, ``5 labels``, ``all labels``."""
    return f"{count} label{'' if count == '1' else 's'}"
