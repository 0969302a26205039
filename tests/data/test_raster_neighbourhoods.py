"""Windows that share what is decoded: the same pixels, every place as likely, fewer reads."""

from __future__ import annotations

import pickle
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chisquare

from cmid.data import RasterWindows
from cmid.data.process_cache import ProcessCache
from cmid.data.resumable import RUNS_MIXED, ResumableData, RunSampler, SampleDataset

rasterio = pytest.importorskip("rasterio")
import cmid.data.raster_windows as raster_windows  # noqa: E402


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, np.ndarray]:
    """Tiles of 16 pixels, two bands of int16, a row that is missing, scale and offset."""
    monkeypatch.setattr(raster_windows, "_NEIGHBOURHOOD", 30)
    array = np.random.default_rng(0).integers(1, 9000, (2, 100, 150)).astype("int16")
    array[:, 50] = -1
    path = tmp_path / "scene.tif"
    profile = {"driver": "GTiff", "count": 2, "height": 100, "width": 150, "dtype": "int16"}
    tiles = {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, "w", nodata=-1, **profile, **tiles) as file:
            file.scales, file.offsets = (0.5, 0.5), (1, 1)
            file.write(array)
    return path, np.where(array == -1, np.nan, array * 0.5 + 1).astype("float32")


def place(name: str) -> tuple[int, int]:
    rows, columns = name.rpartition("[")[2].rstrip("]").split(", ")
    return int(rows.split(":")[0]), int(columns.split(":")[0])


class Named:
    """The name and the pixels of a window."""

    def sample(self, source, index, generator):
        image = source.read(index, generator=generator)
        return {"name": image.name, "pixels": image.pixels, "index": index}


def test_windows_hold_the_values_of_the_scene_where_they_are_not_missing(scene):
    path, array = scene
    source = RasterWindows(path, window=12, windows_per_read=8, max_nodata=1)
    assert len(source) == -(-(100 * 150 // 12**2) // 8) * 8
    partly = 0
    for index in range(len(source)):
        image = source.read(index, generator=np.random.default_rng(index))
        top, left = place(image.name)
        wanted = array[:, top : top + 12, left : left + 12]
        known = np.isfinite(wanted)
        assert np.array_equal(image.pixels.numpy()[known], wanted[known])
        assert image.missing is None if known.all() else (image.missing.numpy() == ~known).all()
        partly += not known.all()
    assert partly


def test_a_window_that_is_changed_does_not_change_the_next(scene):
    source = RasterWindows(scene[0], window=12, windows_per_read=8)
    first = source.read(0)
    kept = first.pixels.clone()
    first.pixels.zero_()
    assert source.read(0).pixels.equal(kept)


def test_every_place_is_equally_likely(scene):
    """Also at the ends, where neighbourhoods are cut off, over epochs of training."""
    source = RasterWindows(scene[0], window=12, windows_per_read=8, max_nodata=1)
    dataset = SampleDataset(source, Named())
    starts = [
        place(dataset[epoch, index]["name"])
        for epoch in range(150)
        for index in range(0, len(source), 8)  # one of each run: those of a run are neighbours
    ]
    counts, *_ = np.histogram2d(*np.array(starts).T, bins=(6, 8), range=((0, 89), (0, 139)))
    # Bins do not hold whole numbers of starts: 89 rows in 6, 139 columns in 8.
    edges = [np.linspace(0, n, bins + 1) for n, bins in ((89, 6), (139, 8))]
    rows, columns = (np.histogram(np.arange(e[-1]), e)[0] for e in edges)
    expected = np.outer(rows, columns) / (89 * 139) * len(starts)
    assert chisquare(counts.ravel(), expected.ravel()).pvalue > 1e-3


def test_a_run_lies_in_one_neighbourhood_and_is_decoded_once(scene, monkeypatch):
    reads = []
    read_stored = raster_windows.read_stored
    monkeypatch.setattr(
        raster_windows, "read_stored", lambda *a, **k: reads.append(1) or read_stored(*a, **k)
    )
    source = RasterWindows(scene[0], window=12, windows_per_read=8, max_nodata=1)
    dataset = SampleDataset(source, Named())
    for run in range(5):
        reads.clear()
        places = np.array([place(dataset[0, run * 8 + i]["name"]) for i in range(8)])
        assert len(reads) <= 1  # none, where the run before it was here
        assert (places // 32 == places[0] // 32).all()  # whole tiles of 16 from 30 on
        assert len({*map(tuple, places)}) > 1
    other_epoch = place(dataset[1, 0]["name"]), place(dataset[2, 0]["name"])
    assert other_epoch != (place(dataset[0, 0]["name"]),) * 2


def test_windows_that_miss_too_much_are_drawn_again(scene):
    source = RasterWindows(scene[0], window=12, windows_per_read=8, max_nodata=0)
    dataset = SampleDataset(source, Named())
    tops = [place(dataset[0, index]["name"]) for index in range(len(source))]
    assert all(top > 50 or top + 12 <= 50 for top, _ in tops)


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("processes", [1, 2])
def test_processes_and_workers_share_runs_without_overlap(workers, processes):
    dataset = SampleDataset(range(1000), Named())
    seen, batches = Counter(), []
    for rank in range(processes):
        sampler = RunSampler(
            dataset,
            together=8,
            workers=workers,
            batch_size=10,
            num_replicas=processes,
            rank=rank,
            seed=3,
            drop_last=True,
        )
        indices = [index for _, index in sampler]
        assert len(indices) == len(sampler) > 0.8 * 1000 / processes
        batches.append(np.array(indices).reshape(-1, 10))
        seen.update(indices)
    assert max(seen.values()) == 1
    runs = [
        {*(own[worker :: max(1, workers)] // 8).ravel()}
        for own in batches
        for worker in range(max(1, workers))
    ]
    assert sum(map(len, runs)) == len(set.union(*runs))  # no run in two workers or processes


def test_a_step_holds_windows_of_many_runs():
    sampler = RunSampler(
        SampleDataset(range(8 * 64), Named()),
        together=8,
        workers=1,
        batch_size=64,
        num_replicas=1,
        rank=0,
        seed=0,
    )
    batches = np.array([index for _, index in sampler]).reshape(-1, 64) // 8
    assert [len({*batch}) for batch in batches] == pytest.approx([RUNS_MIXED] * 8, abs=1)


def test_a_source_smaller_than_a_batch_of_every_worker_is_read_by_fewer():
    sampler = RunSampler(
        SampleDataset(range(32), Named()),
        together=8,
        workers=9,
        batch_size=16,
        num_replicas=1,
        rank=0,
    )
    assert len([*sampler]) == 32


def test_reading_goes_on_amid_an_epoch(scene):
    def loader():
        source = RasterWindows(scene[0], window=12, windows_per_read=8)
        return ResumableData(source, Named(), batch_size=4, num_workers=0).train_dataloader()

    whole = [batch["pixels"] for batch in loader()]
    stopped = loader()
    batches = iter(stopped)
    for _ in range(3):
        next(batches)
    resumed = loader()
    resumed.load_state_dict(stopped.state_dict())
    rest = [batch["pixels"] for batch in resumed]
    assert len(rest) == len(whole) - 3
    assert all(a.equal(b) for a, b in zip(rest, whole[3:], strict=True))


def test_what_is_held_has_a_limit_and_is_not_pickled():
    dropped = []
    cache = ProcessCache(10, weight=len, drop=dropped.append)
    for text in ("aaaa", "bbbb", "aaaa", "cccc", "aaaa"):
        assert cache.get(text[0], lambda text=text: text) == text
    assert dropped == ["bbbb"]
    cache.get("d", lambda: "d" * 20)
    assert dropped == ["bbbb", "cccc", "aaaa"]
    copied = pickle.loads(pickle.dumps(ProcessCache(10)))
    assert copied.get("a", lambda: "new") == "new"
