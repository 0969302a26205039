"""Training data that can be resumed: which image comes when, who reads it, what if it is broken."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from cmid.data.source import UnreadableImageError
from cmid.data.transform import SampleTransform
from cmid.resumption import batches_done

MAX_SKIPS_IN_A_ROW = 100
RUNS_MIXED = 16


@dataclass(eq=False)
class SampleDataset(Dataset[dict[str, Any]]):
    """Samples of a source, addressed by ``(epoch, index)``.

    All randomness of a sample comes from ``(seed, epoch, index)``: it does not depend on the
    worker that makes it, on the number of workers, or on where a run was interrupted.

    Args:
        source: image source.
        transform: makes a sample of an image.
        seed: random seed of the run.
        on_error: ``"error"`` raises on the first unreadable image; ``"skip"`` takes the next
            readable one instead and lists the names it passed over under ``skipped``, one a line.
    """

    source: Sized
    transform: SampleTransform
    seed: int = 0
    on_error: Literal["error", "skip"] = "error"

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, item: tuple[int, int]) -> dict[str, Any]:
        epoch, index = item
        generator = np.random.default_rng((self.seed, epoch, index))
        together = getattr(self.source, "reads_together", 1)
        skipped: list[str] = []
        while len(skipped) < min(MAX_SKIPS_IN_A_ROW, len(self.source)):
            source = self.source
            if hasattr(source, "of_epoch"):
                source = source.of_epoch(epoch)
            if together > 1:
                run = np.random.default_rng((self.seed, epoch, index // together, together))
                source = source.for_run(run)  # type: ignore[attr-defined]
            try:
                sample = self.transform.sample(source, index, generator)
            except UnreadableImageError as error:
                if self.on_error == "error":
                    raise UnreadableImageError(
                        f"{error}; or count and skip such images with --data.on_error skip"
                    ) from error
                skipped.append(str(error))
                index = (index + 1) % len(self.source)
            else:
                return {**sample, "skipped": "\n".join(skipped)}
        raise UnreadableImageError(
            f"{len(skipped)} images in a row are unreadable, the last one: {skipped[-1]}"
        )


class ResumableSampler(DistributedSampler[tuple[int, int]]):
    """Shuffled ``(epoch, index)`` pairs of this process's share, from any position of an epoch on.

    Every index goes to exactly one process, but for the remainder that does not fill a row of
    all processes. ``start`` counts the samples of this process that are already done.
    """

    start: int = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        start, self.start = self.start, 0
        for index in islice(self.order(), start, None):
            yield self.epoch, index

    def order(self) -> Iterator[int]:
        """The indices of this process's share, in the order of ``epoch``."""
        return super().__iter__()  # type: ignore[return-value]


class RunSampler(ResumableSampler):
    """Runs of indices that share what is decoded, those of ``RUNS_MIXED`` runs in random order.

    A run goes to one process of training and to one of its workers: the loader deals batches to
    its workers in turn, and the batches of a worker are made of its own runs.

    Args:
        together: length of a run.
        workers: processes that read for this one.
        batch_size: images per process and step.
    """

    def __init__(
        self, dataset: SampleDataset, *, together: int, workers: int, batch_size: int, **share: Any
    ) -> None:
        super().__init__(dataset, **share)
        self.together, self.batch_size = together, batch_size
        self.runs = len(dataset) // together // self.num_replicas
        self.workers = max(1, min(workers, self.runs * together // batch_size))
        self.batches = self.runs // self.workers * together // batch_size
        self.num_samples = self.batches * self.workers * batch_size

    def order(self) -> Iterator[int]:
        all_runs = np.random.default_rng((self.seed, self.epoch)).permutation(
            self.runs * self.num_replicas
        )
        mine = all_runs[self.rank :: self.num_replicas]
        mixed = np.random.default_rng((self.seed, self.epoch, self.rank))
        shares = [self._mix(mine[w :: self.workers], mixed) for w in range(self.workers)]
        for start in range(0, self.batches * self.batch_size, self.batch_size):
            for share in shares:
                yield from share[start : start + self.batch_size]

    def _mix(self, runs: NDArray[np.int64], generator: np.random.Generator) -> list[int]:
        indices = []
        for start in range(0, len(runs), RUNS_MIXED):
            some = runs[start : start + RUNS_MIXED, None] * self.together
            indices.append(generator.permutation((some + np.arange(self.together)).ravel()))
        return np.concatenate(indices).tolist()


class ResumableLoader(DataLoader[dict[str, Any]]):
    """A loader whose state is the position in the data order: the next epoch and batch.

    Attributes:
        per_epoch: batches that an epoch takes; fewer than there are under ``limit_train_batches``.
    """

    sampler: ResumableSampler
    batches_done: int = 0
    per_epoch: int | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        self.batches_done = self.sampler.start // int(self.batch_size or 1)
        for batch in super().__iter__():
            self.batches_done += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.sampler.epoch, "batches_done": self.batches_done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on at a position, which is as far in its epoch where batches have another size."""
        now = self.per_epoch or len(self)
        before = state.get("per_epoch") or now
        epochs, done = divmod(state["batches_done"], before)
        self.sampler.set_epoch(state["epoch"] + epochs)
        self.sampler.start = batches_done(done, before=before, now=now) * int(self.batch_size or 1)


class ResumableData(L.LightningDataModule):
    """Batches of samples, in an order that depends on the seed alone; goes on amid an epoch.

    Args:
        source: image source.
        transform: makes a sample of an image.
        batch_size: images per process and step.
        num_workers: processes that read images; -1 takes one per core, shared between the
            training processes of a machine, at most 16 each, and leaves one core to training.
            Where a processor with two cores or less trains, it takes none: they would wait for
            each other.
        on_error: what an unreadable image does: ``error`` or ``skip`` (counted, reported).
        seed: random seed of the order of images and of each sample.

    Attributes:
        collate: makes a batch of samples; by default tensors are stacked.
    """

    collate: Callable[[Sequence[dict[str, Any]]], dict[str, Any]] | None = None

    def __init__(
        self,
        source: Sized,
        transform: SampleTransform,
        *,
        batch_size: int = 64,
        num_workers: int = -1,
        on_error: Literal["error", "skip"] = "error",
        seed: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"data.batch_size {batch_size} must be at least 1")
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.on_error = on_error
        self.seed = seed
        self._source = source
        self._transform = transform
        self._loader: ResumableLoader | None = None
        self._position: dict[str, int] | None = None

    @property
    def image_size(self) -> int:
        """Pixels per side of the images in the batches."""
        return self._transform.size

    def train_dataloader(self) -> ResumableLoader:
        """Loader of this process's share; raises ValueError where no full batch is there."""
        processes = self.trainer.world_size if self.trainer else 1
        dataset = SampleDataset(
            self._source, self._transform, seed=self.seed, on_error=self.on_error
        )
        if len(dataset) < self.batch_size * processes:
            raise ValueError(
                f"the source has {len(dataset)} images, fewer than one batch of {self.batch_size} x"
                f" {processes} process(es): lower data.batch_size"
            )
        workers = self._num_workers()
        share: dict[str, Any] = {
            "num_replicas": processes,
            "rank": self.trainer.global_rank if self.trainer else 0,
            "seed": self.seed,
            "drop_last": True,
        }
        self._loader = ResumableLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=self.sampler(dataset, **share),
            num_workers=workers,
            collate_fn=self.collate,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            drop_last=True,
        )
        self._loader.per_epoch = self._batches_per_epoch(len(self._loader))
        if self._position is not None:
            self._loader.load_state_dict(self._position)
            self._position = None
        return self._loader

    def sampler(self, dataset: SampleDataset, **share: Any) -> ResumableSampler:
        """The order of samples; ``share`` says which part of them is this process's."""
        together = getattr(self._source, "reads_together", 1)
        if together == 1:
            return ResumableSampler(dataset, **share)
        runs = {"together": together, "workers": self._num_workers()}
        return RunSampler(dataset, batch_size=self.batch_size, **runs, **share)

    def state_dict(self) -> dict[str, int]:
        """Where the data order stands.

        Lightning restores a datamodule before it asks for loaders, but for sharded training. The
        state of the loader itself comes too late where a schedule asks for the number of steps,
        which builds the loader.
        """
        if self._loader is None:
            return {}
        return self._loader.state_dict() | {"per_epoch": self._loader.per_epoch or 0}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        if state_dict and self._loader is not None:
            self._loader.load_state_dict(state_dict)
        else:
            self._position = state_dict or None

    def _batches_per_epoch(self, batches: int) -> int:
        limit = self.trainer.limit_train_batches if self.trainer else None
        if isinstance(limit, float):
            return int(batches * limit) or batches
        return min(limit or batches, batches)

    def _num_workers(self) -> int:
        if self.num_workers >= 0:
            return self.num_workers
        local = getattr(self.trainer, "num_devices", 1) if self.trainer else 1
        cores = len(os.sched_getaffinity(0)) // local
        if self.trainer and self.trainer.strategy.root_device.type == "cpu" and cores <= 2:
            return 0
        return max(1, min(16, cores - 1))
