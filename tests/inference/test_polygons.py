"""Classes as polygons: they cover the pixels of their class, also where strips meet."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

rasterio = pytest.importorskip("rasterio", reason="extra geo is not installed")
shapely = pytest.importorskip("shapely")
gpd = pytest.importorskip("geopandas")

from cmid.inference.earlier import JOB_TAG, refuse_other  # noqa: E402
from cmid.inference.polygons import joined_areas, write_polygons  # noqa: E402

TRANSFORM = rasterio.transform.from_origin(500_000, 5_000_000, 10, 10)


def write(path: Path, classes: np.ndarray, **more) -> Path:
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": 255, "crs": "EPSG:32633"}
    height, width = classes.shape
    shape = {"height": height, "width": width, "transform": TRANSFORM}
    with rasterio.open(path, "w", **{**profile, **shape, **more}) as file:
        file.write(classes, 1)
        file.update_tags(1, class_0="water", class_1="forest", class_2="town")
    return path


def patches(kind: str, height: int = 67, width: int = 53) -> np.ndarray:
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(height, width))
    if kind == "noise":
        classes = generator.integers(0, 3, (height, width))
    elif kind == "rings":
        rows, columns = np.mgrid[:height, :width]
        classes = np.hypot(rows - 30, columns - 25).astype(int) // 4 % 3
    else:
        classes = np.digitize(ndimage.gaussian_filter(noise, 3), [-0.05, 0.05])
    classes[generator.uniform(size=classes.shape) < 0.02] = 255
    return classes.astype("uint8")


@pytest.mark.parametrize("kind", ["noise", "patches", "rings"])
@pytest.mark.parametrize("rows", [1, 16, 100])
def test_strips_give_the_areas_of_the_whole_raster(tmp_path, kind, rows):
    classes = patches(kind)
    found = []
    with rasterio.open(write(tmp_path / "classes.tif", classes)) as raster:
        for values, areas in joined_areas(raster, rows=rows):
            found += [*zip(values.tolist(), areas, strict=True)]
    wanted = [
        (int(value), shapely.geometry.shape(shape))
        for shape, value in rasterio.features.shapes(classes, mask=classes != 255)
    ]

    assert len(found) == len(wanted)
    assert all(area.geom_type == "Polygon" and area.is_valid for _, area in found)
    assert sum(area.area for _, area in found) == (classes != 255).sum()
    by_place = {(value, *area.bounds, area.area): area for value, area in wanted}
    for value, area in found:
        assert by_place[(value, *area.bounds, area.area)].equals(area)


def test_areas_of_classes_are_their_pixels_where_the_scene_lies(tmp_path):
    classes = patches("patches", 700, 90)
    paths = write_polygons(write(tmp_path / "classes.tif", classes))
    assert [path.name for path in paths] == ["polygons.parquet", "polygons.gpkg"]
    parquet, package = gpd.read_parquet(paths[0]), gpd.read_file(paths[1])
    assert len(parquet) == len(package)
    assert parquet.crs == package.crs == "EPSG:32633"
    areas = parquet.geometry.area.groupby(parquet["class"]).sum()
    for number, name in enumerate(("water", "forest", "town")):
        assert areas[name] == pytest.approx(100 * (classes == number).sum())
    for name, place in zip(parquet["class"], parquet.representative_point(), strict=True):
        column, row = ~TRANSFORM * (place.x, place.y)
        assert ("water", "forest", "town")[classes[int(row), int(column)]] == name


def test_simplified_borders_have_fewer_corners_and_move_no_further(tmp_path):
    raster = write(tmp_path / "classes.tif", patches("rings", 200, 200))
    exact = gpd.read_parquet(write_polygons(raster)[0])
    simple = gpd.read_parquet(write_polygons(raster, simplify=20)[0])
    assert len(simple) == len(exact)
    assert simple.count_coordinates().sum() < 0.6 * exact.count_coordinates().sum()
    assert exact.geometry.hausdorff_distance(simple.geometry).max() <= 20 + 1e-6
    assert simple.is_valid.all()


def test_a_map_of_nothing_has_no_polygons(tmp_path):
    empty = np.full((20, 30), 255, dtype="uint8")
    assert len(gpd.read_file(write_polygons(write(tmp_path / "classes.tif", empty))[1])) == 0


def test_polygons_remember_what_their_map_was_made_of(tmp_path):
    raster = write(tmp_path / "classes.tif", patches("patches"))
    with rasterio.open(raster, "r+") as file:
        file.update_tags(**{JOB_TAG: json.dumps({"files": [["/scenes/a.tif", 1]]})})
    for path in write_polygons(raster):
        refuse_other(path, {"files": [["/scenes/a.tif", 2]]})
        with pytest.raises(ValueError, match=rf"{path.name} is a map of /scenes/a.tif: give"):
            refuse_other(path, {"files": [["/scenes/b.tif", 1]]})
