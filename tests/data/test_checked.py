"""Images and the statistics that standardise them: what does not fit is an error that names it."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from torch.utils.data import DataLoader

from cmid.data import (
    ChannelStatistics,
    HDF5Images,
    ImageFolder,
    ImageList,
    ImageSource,
    PretrainData,
    TarShards,
    UnreadableImageError,
    compute_statistics,
)
from cmid.data.channel_statistics import MILLION_AID
from cmid.data.checked import CheckedSource
from cmid.data.resumable import SampleDataset
from cmid.data.source import Image
from cmid.data.values import ImageValuesError
from cmid.views import TwoViews

RNG = np.random.default_rng(0)
VIEWS = TwoViews(size=16, block_size=8)


def encoded(dtype: str, *, high: float | None = None) -> bytes:
    """A grey or colour picture of a type, as PNG or TIFF."""
    buffer = io.BytesIO()
    if dtype == "float32":
        values = (RNG.random((24, 24)) * (high or 1)).astype("float32")
        values = np.rint(values) if high == 255 else values
        PillowImage.fromarray(values).save(buffer, "TIFF")
    elif dtype == "uint16":
        PillowImage.fromarray(RNG.integers(0, 65536, (24, 24), dtype="uint16")).save(buffer, "PNG")
    else:
        PillowImage.fromarray(RNG.integers(0, 256, (24, 24, 3), dtype="uint8")).save(buffer, "PNG")
    return buffer.getvalue()


def folder(path: Path, contents: list[bytes]) -> ImageSource:
    path.mkdir(parents=True)
    for i, content in enumerate(contents):
        (path / f"{i}.{'tif' if content[:2] == b'II' else 'png'}").write_bytes(content)
    return ImageFolder(path)


def listed(path: Path, contents: list[bytes]) -> ImageSource:
    source = folder(path, contents)
    names = sorted(p.name for p in path.iterdir())
    (path / "list.txt").write_text("\n".join(names))
    del source
    return ImageList(path / "list.txt")


def shards(path: Path, contents: list[bytes]) -> ImageSource:
    path.mkdir(parents=True)
    with tarfile.open(path / "a.tar", "w") as archive:
        for i, content in enumerate(contents):
            info = tarfile.TarInfo(f"{i}.{'tif' if content[:2] == b'II' else 'png'}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return TarShards(path / "a.tar")


def hdf5(path: Path, contents: list[bytes]) -> ImageSource:
    path.mkdir(parents=True)
    with h5py.File(path / "a.h5", "w") as file:
        dataset = file.create_dataset("images", (len(contents),), h5py.vlen_dtype(np.uint8))
        for i, content in enumerate(contents):
            dataset[i] = np.frombuffer(content, np.uint8)
    return HDF5Images(path / "a.h5")


SOURCES: dict[str, Callable[[Path, list[bytes]], ImageSource]] = {
    "folder": folder,
    "list": listed,
    "shards": shards,
    "hdf5": hdf5,
}


@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_8_bit_statistics_refuse_other_images_before_training(
    tmp_path: Path, make: Callable[..., ImageSource], dtype: str
) -> None:
    source = make(tmp_path / "x", [encoded(dtype) for _ in range(4)])
    data = PretrainData(source, VIEWS, batch_size=2)
    with pytest.raises(ImageValuesError, match=rf"{dtype}.*are of uint8 .*compute_stats") as error:
        data.setup("fit")
    assert source[0].name in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize("others", ["uint16", "float32"])
@pytest.mark.parametrize("on_error", ["error", "skip"])
def test_one_image_of_another_depth_is_named_and_never_skipped(
    tmp_path: Path, make: Callable[..., ImageSource], others: str, on_error: Any
) -> None:
    source = make(tmp_path / "x", [encoded("uint8"), encoded("uint8"), encoded(others)])
    data = PretrainData(source, VIEWS, batch_size=1, num_workers=0, on_error=on_error)
    data.setup("fit")
    with pytest.raises(ImageValuesError, match=rf"2.* holds {others}"):
        list(data.train_dataloader())
    with pytest.raises(ImageValuesError, match=rf"2.* of {others}.*\(.*[01].*\) 3 of uint8"):
        compute_statistics(source, on_error=on_error, progress=False)


def test_error_of_a_worker_names_the_file(tmp_path: Path) -> None:
    source = folder(tmp_path / "x", [encoded("uint8"), encoded("uint16")])
    dataset = SampleDataset(CheckedSource(source, MILLION_AID), VIEWS)
    loader = DataLoader(dataset, sampler=[(0, 0), (0, 1)], num_workers=1)  # type: ignore[arg-type]
    with pytest.raises(ImageValuesError, match=r"1\.png holds uint16 values"):
        list(loader)


def test_whole_floats_up_to_255_are_not_mixed_with_fractions_of_1(tmp_path: Path) -> None:
    fractions, whole = encoded("float32"), encoded("float32", high=255)
    mixed = folder(tmp_path / "mixed", [fractions, fractions, whole])
    with pytest.raises(ImageValuesError, match=r"2\.tif .* 0 to 255, .*\(.*0\.tif\).* 0 to 1"):
        compute_statistics(mixed, progress=False)
    statistics = compute_statistics(folder(tmp_path / "one", [fractions] * 3), progress=False)
    assert statistics.kind == "float32, 0 to 1"
    statistics.check(mixed[0])
    with pytest.raises(ImageValuesError, match=r"2\.tif holds float32, 0 to 255 values"):
        statistics.check(mixed[2])


def image(dtype: str) -> Image:
    values = RNG.integers(0, 256, (3, 8, 8)).astype(dtype)
    return Image(torch.from_numpy(values), (8, 8), name=f"{dtype} image")


def test_images_of_sources_that_tell_nothing_are_checked_by_their_pixels() -> None:
    MILLION_AID.check(image("uint8"))
    with pytest.raises(ImageValuesError, match="float32 image holds float32"):
        MILLION_AID.check(image("float32"))
    wide = ChannelStatistics((0.5,) * 3, (0.2,) * 3, (0.0,) * 3, (1000.0,) * 3, dtype="float32")
    with pytest.raises(ImageValuesError, match="uint8 image holds uint8"):
        wide.check(image("uint8"))
    bad = image("float32")
    bad.pixels[0, 0, 0] = torch.nan
    with pytest.raises(UnreadableImageError, match="float32 image has pixels of NaN"):
        wide.check(bad)
    with pytest.raises(ImageValuesError, match="has 3 bands, the statistics describe 1"):
        ChannelStatistics((0.5,), (0.2,), (0.0,), (255.0,)).check(image("uint8"))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_statistics_made_before_kinds_were_recorded_still_load(tmp_path: Path, dtype: str) -> None:
    high = 255.0 if dtype == "uint8" else 4000.0
    known = ChannelStatistics((0.5,) * 3, (0.2,) * 3, (0.0,) * 3, (high,) * 3, dtype=dtype)
    content = asdict(known)
    del content["kind"]
    (tmp_path / "old.json").write_text(json.dumps(content))
    old = ChannelStatistics.from_json(tmp_path / "old.json")
    assert old.is_8bit == (dtype == "uint8")
    old.check(image(dtype))
    with pytest.raises(ImageValuesError):
        old.check(image("float32" if dtype == "uint8" else "uint8"))


def test_statistics_of_stored_numbers_refuse_values_whose_scale_is_applied(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        values = RNG.integers(0, 4000, (2, 8, 8, 3), dtype=np.uint16)
        file.create_dataset("images", data=values).attrs["scale_factor"] = 1e-4
    source = HDF5Images(tmp_path / "a.h5")
    old = ChannelStatistics((0.5,) * 3, (0.2,) * 3, (0.0,) * 3, (4000.0,) * 3, dtype="float32")
    with pytest.raises(ImageValuesError, match=r"scaled values.*unscaled wide values"):
        old.check(source[0])
    compute_statistics(source, progress=False).check(source[0])


@pytest.mark.parametrize(("dtype", "other"), [("uint16", "int16"), ("float32", "uint16")])
def test_statistics_know_the_type_they_are_of(tmp_path: Path, dtype: str, other: str) -> None:
    sources = {}
    for name in (dtype, other):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["images"] = (RNG.random((2, 8, 8, 3)) * 1000).astype(name)
        sources[name] = HDF5Images(tmp_path / f"{name}.h5")
    path = tmp_path / "stats.json"
    compute_statistics(sources[dtype], progress=False).to_json(path)
    statistics = ChannelStatistics.from_json(path)
    statistics.check(sources[dtype][0])
    with pytest.raises(ImageValuesError, match=rf"{other}\.h5.* holds {other} .* of {dtype} "):
        statistics.check(sources[other][0])


def test_images_for_the_knn_are_checked_like_those_for_training(tmp_path: Path) -> None:
    source = folder(tmp_path / "x", [encoded("uint8")] * 3)
    labelled = {}
    for name, dtype in (("good", "uint8"), ("wide", "uint16")):
        for label in "ab":
            folder(tmp_path / name / label, [encoded(dtype)])
        labelled[name] = ImageFolder(tmp_path / name)
    for train, val in (("wide", "good"), ("good", "wide")):
        data = PretrainData(source, VIEWS, knn_train=labelled[train], knn_val=labelled[val])
        with pytest.raises(ImageValuesError, match=r"wide/a/0\.png holds uint16"):
            data.setup("fit")


def test_unreadable_first_image_does_not_stop_a_run_that_skips(tmp_path: Path) -> None:
    source = folder(tmp_path / "x", [b"nothing", encoded("uint8"), encoded("uint8")])
    data = PretrainData(source, VIEWS, batch_size=1, num_workers=0, on_error="skip")
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert len(batches) == 3
    assert sum("0.png" in batch["skipped"][0] for batch in batches) == 1
