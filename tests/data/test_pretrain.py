"""Which image comes when, from whom, and what a broken one does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from torch.utils.data import default_collate

from cmid.data import ImageFolder, PretrainData, SceneSource, UnreadableImageError
from cmid.data.resumable import ResumableLoader, ResumableSampler, SampleDataset
from cmid.data.source import Image, ImageSource
from cmid.views import TwoViews

VIEWS = TwoViews(size=16, block_size=4)


class Numbered(ImageSource):
    """Image ``i`` is filled with the value ``i``."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def read(self, index: int, *, min_size: Any = None, generator: Any = None) -> Image:
        return Image(torch.full((3, 20, 20), index, dtype=torch.uint8), (20, 20), label=index)


def loader(
    source: ImageSource, *, rank: int = 0, world: int = 1, workers: int = 0, batch: int = 4
) -> ResumableLoader:
    dataset = SampleDataset(source, VIEWS, seed=3)
    sampler = ResumableSampler(dataset, num_replicas=world, rank=rank, seed=3, drop_last=True)
    return ResumableLoader(
        dataset, batch_size=batch, sampler=sampler, num_workers=workers, drop_last=True
    )


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return all(torch.equal(a[k], b[k]) for k in ("views", "matrices", "masks", "label"))


def test_samples_do_not_depend_on_workers() -> None:
    alone, helped = list(loader(Numbered(12))), list(loader(Numbered(12), workers=2))
    assert len(alone) == len(helped) == 3
    assert all(same(a, b) for a, b in zip(alone, helped, strict=True))


def test_epochs_differ_in_order_and_in_views() -> None:
    dataset = SampleDataset(SceneSource(4, size=32), VIEWS)
    assert not torch.equal(dataset[0, 1]["views"], dataset[1, 1]["views"])
    assert torch.equal(dataset[1, 1]["views"], dataset[1, 1]["views"])
    source = loader(Numbered(12))
    first = torch.cat([b["label"] for b in source])
    source.sampler.set_epoch(1)
    second = torch.cat([b["label"] for b in source])
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(12))
    assert first.tolist() != second.tolist()


def test_processes_share_an_epoch_without_loss_or_repetition() -> None:
    labels = [
        int(label)
        for rank in range(3)
        for batch in loader(Numbered(24), rank=rank, world=3)
        for label in batch["label"]
    ]
    assert sorted(labels) == list(range(24))


@pytest.mark.parametrize("workers", [0, 2])
def test_interrupted_epoch_continues_where_it_stopped(workers: int) -> None:
    whole = loader(Numbered(20), workers=workers)
    whole.sampler.set_epoch(2)
    batches = list(whole)
    interrupted = loader(Numbered(20), workers=workers)
    interrupted.sampler.set_epoch(2)
    iterator = iter(interrupted)
    for _ in range(2):
        next(iterator)
    state = interrupted.state_dict()
    assert state == {"epoch": 2, "batches_done": 2}

    resumed = loader(Numbered(20), workers=workers)
    resumed.load_state_dict(state)
    rest = list(resumed)
    assert len(rest) == 3
    assert all(same(a, b) for a, b in zip(rest, batches[2:], strict=True))
    resumed.sampler.set_epoch(3)
    assert len(list(resumed)) == 5


def test_state_at_the_end_of_an_epoch_is_the_next_epoch() -> None:
    resumed = loader(Numbered(20))
    resumed.load_state_dict({"epoch": 2, "batches_done": 5})
    assert resumed.sampler.epoch == 3
    assert len(list(resumed)) == 5


@pytest.fixture
def broken_folder(tmp_path: Path) -> Path:
    for i in range(6):
        PillowImage.fromarray(np.full((20, 20, 3), i, np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "2.png").write_bytes(b"")
    whole = (tmp_path / "3.png").read_bytes()
    (tmp_path / "3.png").write_bytes(whole[: len(whole) // 2])
    return tmp_path


def test_unreadable_image_stops_by_default_and_is_named(broken_folder: Path) -> None:
    dataset = SampleDataset(ImageFolder(broken_folder), VIEWS)
    with pytest.raises(UnreadableImageError, match=r"2\.png.*--data\.on_error skip") as error:
        dataset[0, 2]
    assert "\n" not in str(error.value)


def test_skipped_images_are_replaced_and_listed(broken_folder: Path) -> None:
    dataset = SampleDataset(ImageFolder(broken_folder), VIEWS, on_error="skip")
    sample = dataset[0, 2]
    assert [line.split(":")[0][-5:] for line in sample["skipped"].splitlines()] == [
        "2.png",
        "3.png",
    ]
    assert sample["views"].unique().tolist() == [4]
    batch = default_collate([dataset[0, i] for i in range(6)])
    assert sum(len(entry.splitlines()) for entry in batch["skipped"]) == 3


def test_a_source_without_any_readable_image_raises(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(b"nothing")
    dataset = SampleDataset(ImageFolder(tmp_path), VIEWS, on_error="skip")
    with pytest.raises(UnreadableImageError, match="3 images in a row"):
        dataset[0, 0]


def test_too_small_a_source_is_refused() -> None:
    with pytest.raises(ValueError, match=r"10 images, fewer than one batch of 64"):
        PretrainData(Numbered(10), VIEWS).train_dataloader()


def test_statistics_must_fit_the_bands() -> None:
    with pytest.raises(ValueError, match=r"describes 3 bands, the source has 4"):
        PretrainData(SceneSource(10, num_bands=4), VIEWS)


def test_knn_sources_come_together() -> None:
    with pytest.raises(ValueError, match="together"):
        PretrainData(Numbered(10), VIEWS, knn_train=Numbered(3))


@pytest.mark.parametrize(
    ("cores", "devices", "workers"),
    [(1, 1, 0), (2, 1, 0), (3, 1, 2), (8, 1, 7), (8, 2, 3), (2, 2, 0)],
)
def test_readers_leave_a_small_processor_to_its_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cores: int, devices: int, workers: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    data = PretrainData(SceneSource(8, size=32), TwoViews(size=32, block_size=16), batch_size=4)
    data.trainer = L.Trainer(
        accelerator="cpu",
        devices=devices,
        logger=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
    )
    assert data._num_workers() == workers
    data.num_workers = 1
    assert data._num_workers() == 1
