"""Two dates are one scene where their grids agree, or the second one is warped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

rasterio = pytest.importorskip("rasterio", reason="extra geo is not installed")
from rasterio.transform import from_origin  # noqa: E402

from cmid.data.windows import Window  # noqa: E402
from cmid.inference.pairs import ScenePair  # noqa: E402
from cmid.inference.scenes import Scene  # noqa: E402
from cmid.inference.warping import WarpedScene  # noqa: E402

TRANSFORM = from_origin(500_000, 5_000_000, 10, 10)


def write(path: Path, array: np.ndarray, **more) -> Scene:
    shape = {"count": len(array), "height": array.shape[1], "width": array.shape[2]}
    profile = {"driver": "GTiff", "dtype": array.dtype, "crs": "EPSG:32633", "transform": TRANSFORM}
    with rasterio.open(path, "w", **{**profile, **shape, **more}) as file:
        file.write(array)
    return Scene(path)


def smooth(height: int = 60, width: int = 80, *, step: float = 1.0) -> np.ndarray:
    """Four bands that are linear in the coordinates, so that interpolation is exact."""
    rows, columns = (np.mgrid[:height, :width] + 0.5) * step
    return np.stack([rows, columns, rows + columns, rows - columns + 100]).astype("float32")


def test_a_pair_has_the_bands_of_both_dates_and_what_either_lacks_is_missing(tmp_path):
    a, b = smooth(), smooth() + 7
    a[0, :10], b[0, :, :20] = -1, -1
    pair = ScenePair(
        write(tmp_path / "a.tif", a, nodata=-1), write(tmp_path / "b.tif", b, nodata=-1)
    )
    values, missing = pair.read(Window(5, 10, 30, 40))
    assert values.shape == (8, 30, 40)
    assert np.array_equal(values[:4, 5:, 10:], a[:, 10:35, 20:50])
    assert np.array_equal(values[4:, 5:, 10:], b[:, 10:35, 20:50])
    assert missing[:5].all()
    assert missing[:, :10].all()
    assert not missing[5:, 10:].any()


@pytest.mark.parametrize(
    ("more", "size", "said"),
    [
        ({"crs": "EPSG:32632"}, (60, 80), "reference systems EPSG:32633 and EPSG:32632; --warp"),
        ({}, (60, 70), "80 x 60 and 70 x 60 pixels; --warp"),
        (
            {"transform": from_origin(500_005, 5_000_000, 10, 20)},
            (60, 80),
            r"transforms \(10.0, 0.0, 500000.0, 0.0, -10.0, 5000000.0\) and"
            r" \(10.0, 0.0, 500005.0, 0.0, -20.0, 5000000.0\); --warp",
        ),
    ],
)
def test_another_grid_is_refused_with_what_differs(tmp_path, more, size, said):
    first = write(tmp_path / "a.tif", smooth())
    second = write(tmp_path / "b.tif", smooth(*size), **more)
    with pytest.raises(ValueError, match=rf"a.tif and .*b.tif lie on different grids: {said}"):
        ScenePair(first, second)
    if "crs" in more:  # the same numbers are another place there
        with pytest.raises(ValueError, match=r"b.tif lies wholly outside the grid"):
            WarpedScene(second, first.area)
    else:
        ScenePair(first, WarpedScene(second, first.area))


def test_values_of_other_kinds_are_refused(tmp_path):
    first = write(tmp_path / "a.tif", smooth())
    with pytest.raises(ValueError, match="the dates of a pair must agree"):
        ScenePair(first, write(tmp_path / "b.tif", smooth().astype("uint8")))


@pytest.mark.parametrize("step", [0.5, 2.0])
def test_warping_gives_the_values_at_the_same_places(tmp_path, step):
    first = write(tmp_path / "a.tif", smooth())
    moved = TRANSFORM * TRANSFORM.translation(10, 5) * TRANSFORM.scale(step)
    second = write(tmp_path / "b.tif", smooth(80, 80, step=step), transform=moved)
    warped = WarpedScene(second, first.area)
    values, missing = warped.read(Window(0, 0, 60, 80))
    inside = Window(8, 13, round(80 * step) - 6, round(80 * step) - 6).inside(60, 80).slices
    wanted = smooth()
    for band, offset in enumerate((-5, -10, -15, 5)):
        assert np.allclose(values[band][inside], (wanted[band] + offset)[inside], atol=1e-2)
    assert missing[:5].all()
    assert missing[:, :10].all()
    assert not missing[inside].any()
    part, lacking = warped.read(Window(10, 15, 12, 9))
    assert np.allclose(part, values[:, 10:22, 15:24], atol=1e-3)
    assert not lacking.any()
    assert WarpedScene(second, first.area).read(Window(0, 0, 4, 80))[1].all()


def test_warping_keeps_bytes_and_nodata_in_another_reference_system(tmp_path):
    first = write(tmp_path / "a.tif", smooth())
    values = np.full((4, 200, 200), 200, dtype="uint8")
    values[:, :, :90] = 0
    crs = rasterio.crs.CRS.from_epsg(4326)
    x, y = rasterio.warp.transform(first.area.crs, crs, [500_400], [4_999_700])
    place = {"crs": crs, "transform": from_origin(x[0] - 0.01, y[0] + 0.01, 1e-4, 1e-4)}
    warped = WarpedScene(write(tmp_path / "b.tif", values, nodata=0, **place), first.area)
    found, missing = warped.read(Window(0, 0, 60, 80))
    assert found.dtype == np.uint8
    assert missing.any()
    assert not missing.all()
    assert (found[:, ~missing] == 200).all()  # no pixel is mixed with nodata
    with pytest.raises(ValueError, match=r"bare.tif cannot be warped"):
        WarpedScene(write(tmp_path / "bare.tif", values, crs=None), first.area)
