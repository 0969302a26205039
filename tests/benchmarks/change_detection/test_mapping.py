"""Change maps of two scenes are what a model of change says of the pair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")
pytest.importorskip("rasterio", reason="extra geo is not installed")

import rasterio
from rasterio.transform import from_origin

from benchmarks.openmmlab.experiment import build_runner, load_config
from benchmarks.segmentation.mapping import SegmentationModel
from cmid.data.scenes import generate_scene
from tests.integration import in_process

gpd = pytest.importorskip("geopandas")
SIDE = 96


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small configuration and untrained weights."""
    folder = tmp_path_factory.mktemp("trained")
    config = load_config(
        "configs/change_detection/bit_resnet18_scenes.py",
        backbone="random:test_resnet",
        work_dir=str(folder),
    )
    meta = {"classes": ("unchanged", "changed"), "palette": [[0, 0, 0], [255, 0, 0]]}
    state = build_runner(config).model.state_dict()
    torch.save({"meta": {"dataset_meta": meta}, "state_dict": state}, folder / "iter_1.pth")
    config.dump(folder / "config.py")
    return folder


def write(path: Path, number: int, left: float = 5e5) -> Path:
    image = generate_scene(number, size=SIDE).image.numpy()
    profile = {"driver": "GTiff", "count": 3, "height": SIDE, "width": SIDE, "dtype": "uint8"}
    place = {"crs": "EPSG:32633", "transform": from_origin(left, 5e6, 0.5, 0.5)}
    with rasterio.open(path, "w", **profile, **place) as file:
        file.write(image)
    return path


def map_change(trained: Path, first: Path, second: Path, *options: str) -> in_process.Outcome:
    return in_process.run(
        "tools/map.py", trained / "config.py", first, "--second", second, "--checkpoint",
        trained / "iter_1.pth", "--backbone", "random:test_resnet", "--tile", str(SIDE),
        "--halo", "0", "--out", first.parent / "maps", *options,
    )  # fmt: skip


def test_a_change_map_is_what_the_model_says_of_both_dates(trained, tmp_path):
    first, second = write(tmp_path / "a.tif", 0), write(tmp_path / "b.tif", 1)
    outcome = map_change(trained, first, second, "--polygons", "--probabilities")
    assert outcome.status == 0, outcome.err
    config = load_config(trained / "config.py", backbone="random:test_resnet")
    model = SegmentationModel(config, trained / "iter_1.pth", "cpu")
    pair = np.concatenate([rasterio.open(path).read() for path in (first, second)])
    with torch.no_grad():
        wanted = model(torch.from_numpy(pair)[None])[0].softmax(dim=0).numpy()
    with rasterio.open(tmp_path / "maps/probabilities.tif") as file:
        assert np.abs(file.read() / 254 - wanted).max() < 0.51 / 254
    with rasterio.open(tmp_path / "maps/classes.tif") as file:
        assert file.transform == rasterio.open(first).transform
        classes = file.read(1)
        assert file.colormap(1)[1] == (255, 0, 0, 255)
    areas = gpd.read_parquet(tmp_path / "maps/polygons.parquet")
    for number, name in enumerate(("unchanged", "changed")):
        found = areas.geometry[areas["class"] == name].area.sum()
        assert found == pytest.approx(0.25 * (classes == number).sum())


def test_a_second_date_elsewhere_is_refused_or_warped(trained, tmp_path):
    first, second = write(tmp_path / "a.tif", 0), write(tmp_path / "b.tif", 1, 5e5 + 5)
    outcome = map_change(trained, first, second)
    assert outcome.status
    line = outcome.err.splitlines()[-1]
    assert "a.tif and" in line
    assert "transforms (0.5, 0.0, 500000.0" in line
    assert "--warp" in line
    assert not (tmp_path / "maps").exists()
    outcome = map_change(trained, first, second, "--warp")
    assert outcome.status == 0, outcome.err
    with rasterio.open(tmp_path / "maps/classes.tif") as file:
        classes = file.read(1)
    assert (classes[:, :9] == 255).all()  # the second date begins 10 pixels further to the right
    assert (classes[:, 10:] < 2).all()


def test_a_model_of_change_needs_two_dates_and_others_take_one(trained, tmp_path):
    first = write(tmp_path / "a.tif", 0)
    common = ["--out", tmp_path / "maps"]
    one = in_process.run(
        "tools/map.py", trained / "config.py", first, "--checkpoint", trained / "iter_1.pth",
        "--backbone", "random:test_resnet", *common,
    )  # fmt: skip
    assert "compares two dates: name the other one with --second" in one.err.splitlines()[-1]
    two = in_process.run("tools/map.py", "random:test_resnet", first, "--second", first, *common)
    assert "--second is for models of change" in two.err.splitlines()[-1]
    outlined = in_process.run("tools/map.py", "random:test_resnet", first, "--polygons", *common)
    assert "tells no classes of pixels" in outlined.err.splitlines()[-1]
