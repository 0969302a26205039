"""tools/pack_rasters.py: the same rasters, read faster."""

from __future__ import annotations

import os
import resource
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from cmid.data import ChannelStatistics, RasterWindows
from tests.data.test_raster_sources import product
from tests.integration import in_process

rasterio = pytest.importorskip("rasterio")
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def write(path: Path, array: np.ndarray, *, mask: np.ndarray | None = None, **profile) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"count": len(array), "height": array.shape[1], "width": array.shape[2]}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", driver="GTiff", dtype=array.dtype, **shape, **profile) as file,
    ):
        file.write(array)
        if mask is not None:
            file.write_mask(mask)
    return path


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    write(
        tmp_path / "in/a.tif",
        generator.integers(1, 4000, (4, 90, 130)).astype("uint16"),
        compress="deflate",
        nodata=0,
        crs="EPSG:32633",
        transform=rasterio.transform.from_origin(5e5, 5e6, 10, 10),
    )
    with rasterio.open(tmp_path / "in/a.tif", "r+") as file:
        file.scales, file.offsets = (1e-4,) * 4, (-0.1,) * 4
        file.descriptions = ("B02", "B03", "B04", "B08")
    mask = generator.integers(0, 2, (70, 60)).astype("uint8") * 255
    write(tmp_path / "in/deep/b.tif", generator.random((4, 70, 60), dtype="float32"), mask=mask)
    return tmp_path / "in"


def run(*arguments: str | Path, status: int = 0) -> str:
    """The last line of the output or, where it fails, of the errors."""
    outcome = in_process.run("tools/pack_rasters.py", *arguments)
    assert outcome.status == status, outcome.err
    return (outcome.err if status else outcome.out).splitlines()[-1]


@pytest.mark.parametrize("compress", ["none", "zstd"])
def test_packed_rasters_say_the_same_in_small_tiles(scenes, tmp_path, compress):
    said = run(scenes, "--out", tmp_path / "out", "--compress", compress, "--block", "32")
    assert said == f"packed: 2 scenes to {tmp_path / 'out'}, 0 were there already"
    for name in ("a.tif", "deep/b.tif"):
        with rasterio.open(scenes / name) as old, rasterio.open(tmp_path / "out" / name) as new:
            assert np.array_equal(old.read(), new.read())
            assert np.array_equal(old.dataset_mask(), new.dataset_mask())
            assert new.block_shapes == [(32, 32)] * 4
            assert new.compression == (
                None if compress == "none" else rasterio.enums.Compression.zstd
            )
            for what in ("crs", "transform", "nodata", "scales", "offsets", "descriptions"):
                assert getattr(old, what) == getattr(new, what), what


def test_windows_of_packed_rasters_are_equal(scenes, tmp_path):
    run(scenes / "a.tif", "--out", tmp_path / "out")
    windows = [
        RasterWindows(path, window=24, windows_per_read=4)
        for path in (scenes / "a.tif", tmp_path / "out/a.tif")
    ]
    for index in range(len(windows[0])):
        old, new = (
            source.read(index, generator=np.random.default_rng(index)) for source in windows
        )
        assert old.pixels.shape == new.pixels.shape
    # Neighbourhoods follow the tiles of a file; whole scenes are the same.
    whole = [RasterWindows(source.paths[0].decode(), window=90) for source in windows]
    old, new = (source.read(0, generator=np.random.default_rng(1)) for source in whole)
    assert old.pixels.equal(new.pixels)


def test_statistics_are_those_of_the_scenes(scenes, tmp_path):
    run(scenes / "a.tif", "--out", tmp_path / "out", "--statistics", tmp_path / "s.json")
    statistics = ChannelStatistics.from_json(tmp_path / "s.json")
    with rasterio.open(scenes / "a.tif") as file:
        wanted = file.read(1) * 1e-4 - 0.1
    span = statistics.high[0] - statistics.low[0]
    assert statistics.mean[0] * span + statistics.low[0] == pytest.approx(wanted.mean(), abs=0.02)


def test_a_second_call_does_only_what_is_missing(scenes, tmp_path):
    run(scenes, "--out", tmp_path / "out")
    (tmp_path / "out/a.tif").unlink()
    kept = (tmp_path / "out/deep/b.tif").stat().st_mtime_ns
    said = run(scenes, "--out", tmp_path / "out")
    assert said == f"packed: 1 scenes to {tmp_path / 'out'}, 1 were there already"
    assert (tmp_path / "out/deep/b.tif").stat().st_mtime_ns == kept


def test_scenes_that_changed_and_other_options_are_packed_anew(scenes, tmp_path):
    out = tmp_path / "out"
    run(scenes, "--out", out)
    write(scenes / "deep/b.tif", np.ones((4, 70, 60), "float32"))
    assert run(scenes, "--out", out) == f"packed: 1 scenes to {out}, 1 were there already"
    with rasterio.open(out / "deep/b.tif") as file:
        assert (file.read() == 1).all()
    assert "packed: 2 scenes" in run(scenes, "--out", out, "--block", "32", "--compress", "zstd")
    with rasterio.open(out / "a.tif") as file:
        assert file.block_shapes == [(32, 32)] * 4
        assert file.compression is rasterio.enums.Compression.zstd


def test_another_scene_of_one_name_is_no_scene_that_is_there(scenes, tmp_path):
    out = tmp_path / "out"
    run(scenes / "a.tif", "--out", out)
    before = (out / "a.tif").read_bytes()
    other = write(tmp_path / "other/a.tif", np.ones((4, 90, 130), "uint16"))
    os.utime(other, (1, 1))
    said = run(other, "--out", out, status=1)
    assert f"{out}/a.tif is of {scenes}/a.tif, and {other} would replace it: choose" in said
    assert (out / "a.tif").read_bytes() == before
    shutil.copy(other, out / "a.tif")
    assert "does not tell of what it is made" in run(scenes / "a.tif", "--out", out, status=1)


def test_statistics_are_of_these_scenes_alone(scenes, tmp_path):
    bright = write(tmp_path / "bright/z.tif", np.full((4, 90, 130), 60_000, "uint16"))
    run(bright, "--out", tmp_path / "out")
    said = run(scenes / "a.tif", "--out", tmp_path / "out", "--statistics", tmp_path / "s.json")
    assert said == f"written: {tmp_path / 's.json'}"
    assert max(ChannelStatistics.from_json(tmp_path / "s.json").maximum) < 0.4
    said = run(scenes / "a.tif", "--out", tmp_path / "o", "--statistics", scenes, status=2)
    assert "is a folder: name a JSON file" in said


def test_what_cannot_be_packed_is_one_line_and_leaves_nothing(scenes, tmp_path):
    data = (scenes / "a.tif").read_bytes()
    (scenes / "a.tif").write_bytes(data[: len(data) // 2])
    assert "a.tif" in run(scenes / "a.tif", "--out", tmp_path / "out", status=1)
    assert not [*(tmp_path / "out").glob("*")]


def test_a_full_disk_is_one_line_and_leaves_nothing(scenes, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        said = run(scenes / "a.tif", "--out", tmp_path / "out", status=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "a.tif could not be rewritten" in said
    assert not [*(tmp_path / "out").glob("*")]


def test_scenes_are_not_written_over_themselves(scenes):
    said = run(scenes / "a.tif", "--out", scenes, status=1)
    assert "choose another folder for --out" in said
    # A second call would find them among the scenes.
    said = run(scenes, "--out", scenes / "packed", status=1)
    assert "lies among the scenes: choose another folder for --out" in said


def test_products_and_variables_of_files_are_packed_under_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "in/S2A.SAFE"
    product(folder)
    run(folder.parent, "--out", tmp_path / "out")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x/y"], file["z"] = np.ones((20, 20), "int16"), np.zeros((20, 20), "int16")
    run(f"HDF5:{tmp_path}/a.h5://x/y", "--out", tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["S2A.SAFE.tif", "a.h5_x_y.tif"]
    with rasterio.open(tmp_path / "out/S2A.SAFE.tif") as file:
        assert file.descriptions == ("B01", "B02", "B05")
    assert "0 scenes" in run(folder.parent, "--out", tmp_path / "out")
