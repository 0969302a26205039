"""Sensors: their bands find their place in files, and what was trained knows them ever after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from cmid.checkpoints import load_backbone
from cmid.data import HDF5Images, RasterWindows, compute_statistics
from cmid.data.channel_statistics import ChannelStatistics
from cmid.data.checked import CheckedSource
from cmid.data.pretrain import PretrainData
from cmid.data.raster_reading import read_raster
from cmid.data.sensors import SENSORS, Sensor, band_key, find_sensor
from cmid.data.values import ImageValuesError
from cmid.export import to_timm
from cmid.models import MaskedEncoder
from cmid.views import TwoViews

rasterio = pytest.importorskip("rasterio")

RGB = ["B04", "B03", "B02"]
L2A = SENSORS["sentinel2_l2a"]


def write(path: Path, names: tuple[str, ...], *, described: bool = True, **profile: Any) -> Path:
    """A scene in which band k of the sensor has stored values 1000 * (k + 2) + noise."""
    values = {name: 1000 * (k + 2) for k, name in enumerate(L2A.names)}
    rng = np.random.default_rng(0)
    dtype = profile.pop("dtype", "uint16")
    shape = {"count": len(names), "height": 32, "width": 32, "dtype": dtype, **profile}
    with rasterio.open(path, "w", driver="GTiff", **shape) as file:
        for number, name in enumerate(names, 1):
            file.write((values[name] + rng.integers(0, 9, (32, 32))).astype(dtype), number)
            if described:
                file.set_band_description(number, name)
    return path


def windows(path: Path, **options: Any) -> RasterWindows:
    return RasterWindows(path, window=16, windows_per_epoch=4, **options)


def test_presets_are_complete_and_in_physical_order() -> None:
    assert {"sentinel2_l1c", "sentinel2_l2a", "landsat89_l1", "landsat89_l2", "naip"} < {*SENSORS}
    for name, sensor in SENSORS.items():
        assert sensor.name == name
        assert len({band_key(band) for band in sensor.names}) == len(sensor.bands)
        for band in sensor.bands:
            assert 400 < band.wavelength < 13000
            assert band.unit in ("reflectance", "K", "DN")
            assert (band.unit == "DN") == ((band.scale, band.offset) == (1, 0))
    assert len(SENSORS["sentinel2_l1c"].bands) == 13
    assert "B10" not in L2A.names
    # Stored numbers of known meaning: 1000 is no reflectance since baseline 04.00, 11000 is 1;
    # 7273 is none in Landsat's Collection 2, where 43636 is 1 and 44177 are 300 K.
    for preset, band, stored, value in (
        ("sentinel2_l2a", "B04", 11000, 1.0),
        ("sentinel2_l2a_harmonized", "B04", 10000, 1.0),
        ("landsat89_l2", "SR_B4", 43636, 1.0),
        ("landsat89_l2", "ST_B10", 44177, 300.0),
        ("landsat89_l1", "B4", 55000, 1.0),
    ):
        found = SENSORS[preset].band(band)
        assert stored * found.scale + found.offset == pytest.approx(value, abs=3e-3)


@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize("bands", [RGB, ["b4", "B3", "B_02"], [4, 3, 2]])
def test_names_find_their_bands(tmp_path: Path, bands: list[Any], described: bool) -> None:
    path = write(tmp_path / "a.tif", L2A.names, described=described)
    source = windows(path, bands=bands, sensor="sentinel2_l2a")
    assert source.bands == (4, 3, 2)
    assert source.band_names == tuple(RGB)
    assert source.sensor == "sentinel2_l2a"
    image = source[0]
    assert image.kind is not None
    assert str(image.kind) == "uint16, scaled, in reflectance"
    means = image.pixels.mean(dim=(1, 2)).tolist()
    assert means == pytest.approx([0.4, 0.3, 0.2], abs=2e-3)  # (stored - 1000) / 10000


def test_a_files_own_descriptions_tell_the_order(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", ("B02", "B08", "B04", "B03"))
    assert windows(path, bands=RGB, sensor="sentinel2_l2a").bands == (3, 4, 1)
    assert windows(path, bands=RGB).band_names == tuple(RGB)  # without a sensor, too
    values, _ = read_raster(path, bands=RGB, sensor="sentinel2_l2a")
    assert values.mean(axis=(1, 2)).tolist() == pytest.approx([0.4, 0.3, 0.2], abs=2e-3)
    everything = windows(path, sensor="sentinel2_l2a")
    assert everything.band_names == ("B02", "B08", "B04", "B03")


def test_scale_unit_and_nodata_of_a_file_win_over_the_usual_ones(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", ("B04", "B03"), nodata=7)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets, file.units = (2.0, 2.0), (1.0, 1.0), ("m", "m")
    image = windows(path, bands=["B04"], sensor="sentinel2_l2a")[0]
    assert str(image.kind) == "uint16, scaled, in m"
    assert float(image.pixels.mean()) == pytest.approx(2 * 5004 + 1, rel=1e-2)
    stored = windows(path, bands=["B04"], sensor="sentinel2_l2a", physical=False)[0]
    assert float(stored.pixels.mean()) == pytest.approx(5004, rel=1e-2)
    values = write(tmp_path / "b.tif", ("B04",), dtype="float32")
    assert float(windows(values, sensor="sentinel2_l2a")[0].pixels.mean()) > 1000


def test_zeros_are_missing_where_the_sensor_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", ("B04",))
    with rasterio.open(path, "r+") as file:
        pixels = file.read()
        pixels[:, :, ::4] = 0
        file.write(pixels)
    image = windows(path, sensor="sentinel2_l2a")[0]
    assert image.missing is not None
    assert float(image.missing.float().mean()) == 0.25
    assert windows(path)[0].missing is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sensor": "sentinel3"}, "no sensor 'sentinel3': give one of sentinel2_l1c"),
        ({"sensor": "naip", "bands": ["B04"]}, "naip has no band 'B04': it has R, G, B, N"),
        ({"sensor": "sentinel2_l2a", "bands": ["B12"]}, r"a\.tif has no band 'B12': it has B04, B"),
        ({"bands": ["red"]}, r"a\.tif has no band 'red': it has B04, B03"),
    ],
)
def test_bands_that_are_not_there_are_named(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    path = write(tmp_path / "a.tif", ("B04", "B03"))
    with pytest.raises(ValueError, match=message):
        windows(path, **options)


def test_bands_whose_order_cannot_be_known_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", ("B04", "B03"), described=False)
    with pytest.raises(ValueError, match=r"2 bands without descriptions, sentinel2_l2a 12: desc"):
        windows(path, bands=["B04"], sensor="sentinel2_l2a")
    assert windows(path, bands=[1], sensor="sentinel2_l2a").band_names == ()
    write(tmp_path / "b.tif", ("B04", "B03"))
    write(tmp_path / "c.tif", ("B03", "B04"))
    with pytest.raises(ValueError, match="hold their bands in different orders"):
        RasterWindows([str(tmp_path / f"{n}.tif") for n in "bc"], bands=["B04"])


def exported(statistics: ChannelStatistics, folder: Path) -> ChannelStatistics:
    """What a backbone with these statistics knows once it was exported and loaded."""
    torch.manual_seed(0)
    encoder = MaskedEncoder("resnet18", in_chans=len(statistics.mean), img_size=32)
    to_timm(encoder, folder, statistics=statistics)
    return load_backbone(str(folder)).standardize.statistics


def test_bands_travel_into_an_export_and_a_wrong_order_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", L2A.names)
    trained = windows(path, bands=RGB, sensor="sentinel2_l2a")
    file = tmp_path / "statistics.json"
    compute_statistics(trained, progress=False).to_json(file)
    data = PretrainData(trained, TwoViews(size=16, block_size=8), batch_size=2, statistics=file)
    config = exported(data.statistics, tmp_path / "export")
    recorded = json.loads((tmp_path / "export" / "config.json").read_text())["cmid"]
    assert (recorded["sensor"], recorded["bands"]) == ("sentinel2_l2a", RGB)
    assert recorded["kind"] == "uint16, scaled, in reflectance"
    assert (config.sensor, config.bands, config.kind) == (
        *("sentinel2_l2a", tuple(RGB)),
        "uint16, scaled, in reflectance",
    )
    CheckedSource(windows(path, bands=RGB, sensor="sentinel2_l2a"), config).read(0)
    turned = windows(path, bands=RGB[::-1], sensor="sentinel2_l2a")
    fewer = windows(path, bands=RGB[:2], sensor="sentinel2_l2a")
    for other in (turned, fewer):
        with pytest.raises(ImageValuesError, match=r"have bands B.*of bands B04, B03, B02 "):
            CheckedSource(other, config)
    with pytest.raises(ImageValuesError, match=r"set bands=\[B04, B03, B02\] of the source"):
        PretrainData(turned, TwoViews(size=16, block_size=8), batch_size=2, statistics=file)
    level1 = windows(write(tmp_path / "b.tif", L2A.names), bands=RGB, sensor="sentinel2_l1c")
    with pytest.raises(ImageValuesError, match=r"sentinel2_l1c.* sentinel2_l2a: .* leave out"):
        CheckedSource(level1, config)
    stored = windows(path, bands=RGB, sensor="sentinel2_l2a", physical=False)
    with pytest.raises(ImageValuesError, match=r"holds uint16 values.*in reflectance values"):
        CheckedSource(stored, config).read(0)
    CheckedSource(windows(path, bands=[2, 3, 4]), config)  # of unknown bands: nothing to compare


def test_statistics_without_bands_take_those_of_the_training_data(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", L2A.names)
    file = tmp_path / "statistics.json"
    compute_statistics(windows(path, bands=[4, 3, 2]), progress=False).to_json(file)
    assert ChannelStatistics.from_json(file).bands == ()
    source = windows(path, bands=RGB, sensor="sentinel2_l2a", physical=False)
    data = PretrainData(source, TwoViews(size=16, block_size=8), batch_size=2, statistics=file)
    assert data.statistics.bands == tuple(RGB)


def test_labelled_images_in_hdf5_say_their_bands(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = np.ones((2, 12, 4, 4), dtype=np.uint16)
    path = tmp_path / "a.h5"
    named = HDF5Images(path, layout="NCHW", sensor="sentinel2_l2a")
    assert named.band_names == L2A.names
    with pytest.raises(ValueError, match=r"'images' has 12 bands, bands names 1"):
        HDF5Images(path, layout="NCHW", sensor="sentinel2_l2a", bands=["B04"])


def test_a_sensor_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "camera.json"
    path.write_text('{"name": "camera", "bands": [{"name": "red", "wavelength": 660}]}')
    assert find_sensor(str(path)).band("RED").wavelength == 660
    assert find_sensor(find_sensor(str(path))).names == ("red",)
    for content in ("[]", '{"name": "a"}', '{"name": "a", "bands": [{"nm": 1}]}'):
        path.write_text(content)
        with pytest.raises(ValueError, match=r"camera\.json describes no sensor"):
            Sensor.from_json(path)
    path.write_text('{"name": "a", "bands": []}')
    with pytest.raises(ValueError, match="has no bands"):
        Sensor.from_json(path)
    with pytest.raises(FileNotFoundError, match=r"no file .*gone\.json"):
        find_sensor(str(tmp_path / "gone.json"))
