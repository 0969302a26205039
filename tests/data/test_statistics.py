import json
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

import cmid.data.statistics as statistics_module
from cmid.data import ChannelStatistics, UnreadableImageError, compute_statistics
from cmid.data.source import Image, ImageSource
from cmid.data.statistics import MILLION_AID, PERCENTILES
from tests.integration.in_process import run


class Arrays(ImageSource):
    """Images that lie in memory; an entry that is ``None`` is unreadable."""

    def __init__(self, arrays):
        self.arrays = arrays

    def __len__(self):
        return len(self.arrays)

    def read(self, index, *, min_size=None, generator=None):
        array = self.arrays[index]
        if array is None:
            raise UnreadableImageError(f"image {index} is broken")
        return Image(torch.from_numpy(array), array.shape[1:], name=f"image {index}")


def images(dtype, *, count=12, bands=3):
    generator = np.random.default_rng(0)
    sizes = generator.integers(5, 40, (count, 2))
    scales = generator.uniform(20, 250, count)
    offset = 0 if dtype == "uint8" else 30_000
    return [
        (offset + generator.uniform(0, s, (bands, h, w))).astype(dtype)
        for s, (h, w) in zip(scales, sizes, strict=True)
    ]


@pytest.mark.parametrize(("dtype", "bands"), [("uint8", 3), ("uint8", 1), ("float32", 7)])
def test_equal_to_numpy(dtype, bands):
    arrays = images(dtype, bands=bands)
    statistics = compute_statistics(Arrays(arrays), progress=False)
    flat = np.concatenate([a.reshape(bands, -1) for a in arrays], axis=1).astype(np.float64)
    percentiles = np.percentile(flat, PERCENTILES, axis=1)
    low, high = statistics.low, statistics.high
    if dtype == "uint8":
        assert (low, high) == ((0.0,) * bands, (255.0,) * bands)
    else:
        assert np.allclose(low, percentiles[0], rtol=0, atol=1e-9)
        assert np.allclose(high, percentiles[-1], rtol=0, atol=1e-9)
    unit = (flat - np.array(low)[:, None]) / (np.array(high) - low)[:, None]
    assert np.allclose(statistics.mean, unit.mean(axis=1), rtol=1e-10)
    assert np.allclose(statistics.std, unit.std(axis=1), rtol=1e-10)
    assert np.array_equal(statistics.minimum, flat.min(axis=1))
    assert np.array_equal(statistics.maximum, flat.max(axis=1))
    for percent, wanted in zip(PERCENTILES, percentiles, strict=True):
        assert np.allclose(statistics.percentiles[str(percent)], wanted, rtol=0, atol=1e-9)
    assert statistics.num_images == 12
    assert statistics.num_pixels == flat.shape[1]
    assert statistics.dtype == dtype


def test_sampled_percentiles_are_close_and_fair(monkeypatch):
    monkeypatch.setattr(statistics_module, "_SAMPLE_VALUES", 20_000)
    generator = np.random.default_rng(1)
    # A tenth of the pixels in one image: it must weigh a tenth, not as much as each other image.
    arrays = [generator.normal(0, 1, (2, 100, 90)).astype(np.float32) for _ in range(10)]
    arrays += [generator.normal(50, 1, (2, 100, 100)).astype(np.float32)]
    first = compute_statistics(Arrays(arrays), progress=False)
    flat = np.concatenate([a.reshape(2, -1) for a in arrays], axis=1)
    for percent in (1, 25, 50, 75):
        wanted = np.percentile(flat, percent, axis=1)
        assert np.allclose(first.percentiles[str(percent)], wanted, atol=0.1)
    assert np.allclose(first.percentiles["98"], np.percentile(flat, 98, axis=1), atol=0.2)
    assert first == compute_statistics(Arrays(arrays), progress=False)
    assert first != compute_statistics(Arrays(arrays), progress=False, seed=1)


def test_part_of_the_images():
    arrays = images("uint8", count=30)
    part = compute_statistics(Arrays(arrays), max_images=10, progress=False)
    assert part.num_images == 10
    assert part == compute_statistics(Arrays(arrays), max_images=10, progress=False)
    assert part != compute_statistics(Arrays(arrays), max_images=10, seed=1, progress=False)


def test_unreadable_images():
    arrays = images("uint8", count=3)
    broken = Arrays([None, *arrays, None])
    with pytest.raises(UnreadableImageError, match="image 0 is broken"):
        compute_statistics(broken, progress=False)
    statistics = compute_statistics(broken, on_error="skip", progress=False)
    assert (statistics.num_images, statistics.num_skipped) == (3, 2)
    assert statistics.mean == compute_statistics(Arrays(arrays), progress=False).mean
    with pytest.raises(UnreadableImageError, match="none of the 2 images"):
        compute_statistics(Arrays([None, None]), on_error="skip", progress=False)


def test_values_that_are_not_finite_do_not_count():
    array = images("float32", count=1)[0]
    wanted = compute_statistics(Arrays([array[:, 1:]]), progress=False)
    array[0, 0], array[2, 0] = np.nan, np.inf
    assert compute_statistics(Arrays([array]), progress=False) == wanted


def test_images_must_agree():
    arrays = images("uint8", count=2)
    for other in (arrays[0].astype(np.float32), arrays[0][:2]):
        with pytest.raises(ValueError, match=r"image 2 has . bands of .*: pretrain on them sep"):
            compute_statistics(Arrays([*arrays, other]), progress=False)


def test_constant_and_nearly_constant_bands():
    array = images("float32", count=1)[0]
    array[1] = 7
    with pytest.raises(ValueError, match=r"band 2 has std 0\.0 .* leave it out"):
        compute_statistics(Arrays([array]), progress=False)
    array[1, 0, 0] = 9
    statistics = compute_statistics(Arrays([array]), progress=False)
    assert (statistics.low[1], statistics.high[1]) == (7, 9)


def test_json_round_trip(tmp_path):
    statistics = compute_statistics(Arrays(images("float32")), progress=False)
    path = tmp_path / "new folder/stats.json"
    statistics.to_json(path)
    assert ChannelStatistics.from_json(path) == statistics
    assert [p.name for p in path.parent.iterdir()] == ["stats.json"]
    MILLION_AID.to_json(path)
    assert ChannelStatistics.from_json(str(path)) == MILLION_AID
    with pytest.raises(FrozenInstanceError):
        statistics.mean = ()


@pytest.mark.parametrize(
    "text", ["", "[1]", "{}", '{"mean": [1], "std": [1], "low": [0], "high": [1], "typo": 1}']
)
def test_json_errors_name_file_and_remedy(tmp_path, text):
    with pytest.raises(FileNotFoundError, match=r"gone\.json do not exist: run tools/compute"):
        ChannelStatistics.from_json(tmp_path / "gone.json")
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(ValueError, match=r"bad\.json holds no channel statistics .*: run tools"):
        ChannelStatistics.from_json(tmp_path / "bad.json")


def test_bands_must_match():
    with pytest.raises(ValueError, match="same bands"):
        ChannelStatistics((0.5,), (0.1, 0.1), (0.0,), (255.0,))


def test_command(tmp_path):
    for i in range(4):
        PillowImage.new("RGB", (8, 8), (10 * i, 20 + i, 3 * i)).save(tmp_path / f"{i}.png")
    (tmp_path / "broken.png").write_text("no")
    out = tmp_path / "stats.json"
    command = ["tools/compute_stats.py", str(tmp_path), "--out", str(out)]
    failed = run(*command)
    assert failed.status == 1
    assert "broken.png: not a readable image" in failed.err
    assert "Traceback" not in failed.err
    assert not out.exists()
    done = run(*command, "--on_error", "skip")
    assert done.status == 0, done.err
    assert "4 images (1 unreadable)" in done.out
    assert json.loads(out.read_text())["mean"][0] == pytest.approx(15 / 255)


@pytest.mark.parametrize("option", ["--bands", "--nodata", "--resolution"])
def test_the_command_refuses_options_of_rasters_for_whole_images(tmp_path, option):
    failed = run("tools/compute_stats.py", str(tmp_path), "--out", str(tmp_path / "s"), option, "2")
    assert failed.status != 0
    assert "are of rasters: give --window too" in failed.err
