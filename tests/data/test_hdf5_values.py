"""HDF5 and NetCDF: packed and missing values, odd labels, datasets that are none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from cmid.data import HDF5Images, UnreadableImageError, compute_statistics
from cmid.data.values import UINT8, ValueKind

RNG = np.random.default_rng(0)
IMAGES = np.zeros((4, 8, 8, 3), np.uint8)


def store(path: Path, values: Any, **attributes: Any) -> Path:
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("images", data=values)
        for name, value in attributes.items():
            dataset.attrs[name] = value
    return path


@pytest.mark.parametrize("attribute", ["_FillValue", "missing_value"])
@pytest.mark.parametrize(("dtype", "fill"), [("int16", -32768), ("float32", np.nan), ("f8", -1.0)])
def test_filled_pixels_are_missing(tmp_path: Path, dtype: str, fill: float, attribute: str) -> None:
    values = RNG.integers(1, 1000, (4, 8, 8, 3)).astype(dtype)
    values[:, :2] = fill
    marker = np.array([fill], dtype=dtype)
    source = HDF5Images(store(tmp_path / "s.nc", values, **{attribute: marker}))
    image = source[1]
    assert image.missing is not None
    assert image.missing[:, :2].all()
    assert not image.missing[:, 2:].any()
    for band in range(3):
        mean = values[1, 2:, :, band].astype(np.float64).mean()
        assert np.allclose(image.pixels[band, :2].numpy(), mean, atol=0.51)
    statistics = compute_statistics(source, progress=False)
    counted = values[:, 2:].astype(np.float64)
    assert np.allclose(statistics.minimum, counted.min(axis=(0, 1, 2)))
    assert np.allclose(statistics.low, np.percentile(counted, 1, axis=(0, 1, 2)))
    assert statistics.num_pixels == 4 * 6 * 8


def test_scale_offset_and_unit_are_applied(tmp_path: Path) -> None:
    values = RNG.integers(0, 1000, (2, 8, 8)).astype("int16")
    values[0, 0, 0] = -1
    packed = {"scale_factor": 0.1, "add_offset": 250.0, "_FillValue": np.int16(-1), "units": "K"}
    image = HDF5Images(store(tmp_path / "s.nc", values, **packed))[0]
    assert image.kind == ValueKind("int16", scaled=True, unit="K")
    wanted = values[0] * 0.1 + 250
    assert np.allclose(image.pixels[2].numpy()[1:], wanted[1:], rtol=1e-6)
    assert image.missing is not None
    assert int(image.missing.sum()) == 3


def test_scale_may_differ_by_band(tmp_path: Path) -> None:
    values = RNG.integers(0, 100, (2, 8, 8, 3)).astype("uint8")
    scale = {"scale_factor": np.array([1.0, 2.0, 3.0])}
    image = HDF5Images(store(tmp_path / "s.nc", values, **scale))[0]
    assert image.kind == ValueKind("uint8", scaled=True)
    assert np.array_equal(image.pixels[2].numpy(), 3.0 * values[0, ..., 2])
    bad = store(tmp_path / "t.nc", values, scale_factor=np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match=r"t\.nc: dataset 'images': its scale_factor has 2 values"):
        HDF5Images(bad)
    odd = store(tmp_path / "u.nc", values, scale_factor="much")
    with pytest.raises(ValueError, match=r"u\.nc: .*attribute scale_factor is no number"):
        HDF5Images(odd)


def test_values_outside_of_the_valid_range_are_missing(tmp_path: Path) -> None:
    values = np.full((1, 4, 4, 3), 50, np.int16)
    values[0, 0], values[0, 1] = 20_000, -5
    for limits in ({"valid_range": [0, 10_000]}, {"valid_min": 0, "valid_max": 10_000}):
        image = HDF5Images(store(tmp_path / "s.nc", values, **limits))[0]
        assert image.missing is not None
        assert int(image.missing.sum()) == 3 * 8
        assert (image.pixels == 50).all()


def test_bytes_that_are_meant_unsigned_are_read_so(tmp_path: Path) -> None:
    values = np.array([-1, 0, 1, 127] * 12, np.int8).reshape(1, 4, 4, 3)
    image = HDF5Images(store(tmp_path / "s.nc", values, _Unsigned="true"))[0]
    assert image.kind == UINT8
    assert image.pixels.dtype == torch.uint8
    assert int(image.pixels.max()) == 255


def test_images_without_a_valid_pixel_and_undeclared_nan_are_named(tmp_path: Path) -> None:
    values = np.full((2, 4, 4, 3), -1, np.int16)
    source = HDF5Images(store(tmp_path / "s.nc", values, _FillValue=np.int16(-1)))
    with pytest.raises(UnreadableImageError, match=r"s\.nc:images\[1\] has no valid pixel"):
        source[1]
    nan = np.ones((2, 4, 4, 3), np.float32)
    nan[1, 0, 0, 0] = np.nan
    source = HDF5Images(store(tmp_path / "t.h5", nan))
    assert source[0].kind == ValueKind("float32")
    with pytest.raises(UnreadableImageError, match=r"t\.h5:images\[1\] has pixels of nan|NaN"):
        source[1]
    assert (
        compute_statistics(
            HDF5Images(store(tmp_path / "u.h5", nan * RNG.random((2, 4, 4, 3)).astype("f4"))),
            on_error="skip",
            progress=False,
        ).num_skipped
        == 1
    )


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint64", "int32", "uint16", "bool"])
def test_whole_labels_of_any_type_are_taken(tmp_path: Path, dtype: str) -> None:
    labels = np.array([0, 1, 1, 0]).astype(dtype)
    path = store(tmp_path / "a.h5", IMAGES)
    with h5py.File(path, "a") as file:
        file["labels"] = labels
        file["column"] = labels[:, None]
    for name in ("labels", "column"):
        source = HDF5Images(path, labels=name)
        assert [source[i].label for i in range(4)] == [0, 1, 1, 0]
        assert source.classes == ("0", "1")


def test_one_hot_labels_are_taken(tmp_path: Path) -> None:
    path = store(tmp_path / "a.h5", IMAGES)
    with h5py.File(path, "a") as file:
        file["labels"] = np.eye(5, dtype=np.uint8)[[4, 0, 2, 2]]
        file["several"] = np.ones((4, 5))
    source = HDF5Images(path, labels="labels")
    assert [source[i].label for i in range(4)] == [4, 0, 2, 2]
    assert len(source.classes) == 5
    with pytest.raises(ValueError, match=r"a\.h5: labels 'several' .* needs one 1"):
        HDF5Images(path, labels="several")


@pytest.mark.parametrize(
    "names", [["sea", "é", "sea", "é"], [b"sea", "é".encode(), b"sea", "é".encode()]]
)
@pytest.mark.parametrize("kind", ["fixed", "variable"])
def test_names_of_any_string_type_are_taken(tmp_path: Path, names: list[Any], kind: str) -> None:
    path = store(tmp_path / "a.h5", IMAGES)
    text = [n if isinstance(n, bytes) else n.encode() for n in names]
    with h5py.File(path, "a") as file:
        if kind == "fixed":
            file["labels"] = np.array(text)
        else:
            file.create_dataset("labels", data=names, dtype=h5py.string_dtype())
    source = HDF5Images(path, labels="labels")
    assert source.classes == ("sea", "é")
    assert [source[i].label for i in range(4)] == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.array([0.0, 0.5, 1.0, 1.0]), "hold 0.5"),
        (np.array([0.0, np.nan, 1.0, 1.0]), "hold nan"),
        (np.array([0, -7, 1, 1]), "hold -7"),
        (np.array([0, 10**12, 1, 1]), "hold 1000000000000"),
        (np.array([0, 1, 2]), r"have shape \(3,\), not \(4,\)"),
        (np.zeros((4, 2, 2)), "have shape"),
        (np.int64(3), "have shape"),
        (h5py.Empty("i8"), "have shape None"),
        (np.array([1j] * 4), "give whole numbers or names"),
        (np.array([b"a", b"", b"b", b"c"]), "entry 1 is empty"),
        (np.array([b"\xff\xfe", b"a", b"b", b"c"]), "not UTF-8"),
    ],
)
def test_odd_labels_are_refused_by_file_and_dataset(
    tmp_path: Path, labels: Any, reason: str
) -> None:
    path = store(tmp_path / "x.h5", IMAGES)
    with h5py.File(path, "a") as file:
        file.create_dataset("labels", data=labels)
    with pytest.raises(ValueError, match=rf"x\.h5: labels 'labels'.*{reason}"):
        HDF5Images(path, labels="labels")


@pytest.mark.parametrize(
    "data",
    [
        h5py.Empty("f"),
        np.float32(1),
        np.zeros(3),
        np.zeros((3, 4)),
        np.zeros((1, 2, 3, 4, 5)),
        np.zeros((2, 4, 4, 3), "c8"),
        np.zeros((2, 4, 4, 3), bool),
        np.zeros((2, 0, 4, 3)),
        np.array([b"a", b"b"]),
    ],
    ids=str,
)
def test_datasets_that_hold_no_images_are_refused_by_file_and_dataset(
    tmp_path: Path, data: Any
) -> None:
    path = store(tmp_path / "x.h5", data)
    with pytest.raises(ValueError, match=r"x\.h5: dataset 'images' of ") as error:
        HDF5Images(path)
    assert "\n" not in str(error.value)


def test_groups_and_links_to_nothing_are_refused_by_name(tmp_path: Path) -> None:
    path = store(tmp_path / "x.h5", IMAGES)
    with h5py.File(path, "a") as file:
        file["group/inner"] = IMAGES
        file["soft"] = h5py.SoftLink("/absent")
        file["external"] = h5py.ExternalLink("absent.h5", "/images")
        file["good"] = h5py.SoftLink("/images")
    assert len(HDF5Images(path, images="good")) == 4
    assert len(HDF5Images(path, images="group/inner")) == 4
    for name, reason in (
        ("group", "'group' is a group: name a dataset of it; it holds group/inner"),
        ("soft", "'soft'.*absent"),
        ("external", "'external'.*absent"),
        ("images/deeper", "images/deeper"),
    ):
        with pytest.raises(ValueError, match=rf"x\.h5.*{reason}") as error:
            HDF5Images(path, images=name)
        assert "\n" not in str(error.value)


def test_missing_compression_is_named_before_any_image_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=IMAGES, chunks=(1, 8, 8, 3), compression="gzip")
    content = bytearray(path.read_bytes())
    place = content.find(b"deflate\0")  # the number of the filter stands 8 bytes before its name
    content[place - 8 : place - 6] = (32001).to_bytes(2, "little")
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.compile(r"x\.h5: .*'images' is compressed .*32001")):
        HDF5Images(path)
