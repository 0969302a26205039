"""Polygons limit a map; embeddings as features; scenes of several files and resolutions as one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cmid.data.windows import Window
from tests.inference.test_maps import TRANSFORM, Convolutions, joined, noise, write
from tests.integration import in_process

rasterio = pytest.importorskip("rasterio")
warp = pytest.importorskip("rasterio.warp")
pyogrio = pytest.importorskip("pyogrio")
shapely = pytest.importorskip("shapely")

from cmid.inference.regions import Limited, Region  # noqa: E402
from cmid.inference.scenes import Area, Scene  # noqa: E402
from cmid.inference.streaming import map_scene  # noqa: E402
from cmid.inference.tiled import TiledScene  # noqa: E402
from cmid.inference.tiles import TileGrid  # noqa: E402
from cmid.inference.vectors import read_geometries, write_features  # noqa: E402

CRS = rasterio.CRS.from_epsg(32633)


def layer(path: Path, shapes: list, crs: str | None = "EPSG:32633") -> Path:
    """A file of polygons."""
    if path.suffix == ".parquet":
        columns = {"geometry": np.array(shapes)}
        system = rasterio.CRS.from_string(crs) if crs else None
        return write_features(path.with_suffix(""), iter([columns]), crs=system)[0]
    pyogrio.raw.write(
        path, shapely.to_wkb(shapes), [], np.array([]), geometry_type="Polygon", crs=crs
    )
    return path


def ground(left: int, top: int, right: int, bottom: int):
    """A rectangle of pixels on the ground."""
    (x0, y0), (x1, y1) = TRANSFORM * (left, top), TRANSFORM * (right, bottom)
    return shapely.box(x0, y1, x1, y0)


@pytest.mark.parametrize("ending", ["gpkg", "geojson", "parquet"])
def test_a_region_is_the_pixels_whose_centre_is_inside(tmp_path: Path, ending: str) -> None:
    shapes = [ground(10, 20, 30, 25), ground(50, 60, 51, 61), ground(500, 500, 501, 501)]
    crs = "EPSG:32633"
    if ending == "geojson":  # longitude and latitude
        crs = "EPSG:4326"

        def turned(points: np.ndarray) -> np.ndarray:
            return np.column_stack(warp.transform(CRS, crs, *points.T))

        shapes = [*shapely.transform(shapes, turned)]
    path = layer(tmp_path / f"a.{ending}", shapes, crs)
    area = Area(100, 120, CRS, TRANSFORM)
    region = Region(path, area, Window(0, 0, 100, 120))
    wanted = np.zeros((100, 120), dtype=bool)
    wanted[20:25, 10:30] = wanted[60, 50] = True
    assert np.array_equal(region.inside(Window(0, 0, 100, 120)), wanted)
    assert np.array_equal(region.inside(Window(18, 25, 30, 40)), wanted[18:48, 25:65])
    top, left, height, width = region.window
    assert (top, left) in ((20, 10), (19, 9))
    assert 41 <= height <= 43
    assert 41 <= width <= 43


def test_a_region_of_a_rotated_scene_lies_where_the_ground_does(tmp_path: Path) -> None:
    turned = TRANSFORM * rasterio.Affine.rotation(30)
    corners = [turned * corner for corner in ((10, 20), (30, 20), (30, 25), (10, 25))]
    path = layer(tmp_path / "a.gpkg", [shapely.Polygon(corners)])
    region = Region(path, Area(50, 60, CRS, turned), Window(0, 0, 50, 60))
    wanted = np.zeros((50, 60), dtype=bool)
    wanted[20:25, 10:30] = True
    assert np.array_equal(region.inside(Window(0, 0, 50, 60)), wanted)


def test_outside_a_region_nothing_is_read_or_mapped_but_seen_as_context(tmp_path: Path) -> None:
    array = noise(128, 128)
    scene = Scene(write(tmp_path / "a.tif", array))
    whole = Window(0, 0, 128, 128)
    region = Region(layer(tmp_path / "a.gpkg", [ground(64, 0, 104, 70)]), scene.area, whole)
    asked = []
    read = scene.read
    scene.read = lambda window, fill=0: asked.append(window) or read(window, fill)
    grid = TileGrid(height=128, width=128, size=32, halo=0, overlap=0, stride=4)
    model, every = Convolutions(), Convolutions()
    found = joined(map_scene(model, TiledScene(Limited(scene, region), whole, grid)))
    assert len(asked) == model.tiles == 6
    inside = np.zeros((32, 32), dtype=bool)
    inside[:18, 16:26] = True  # 70 rows are 17 cells and a half
    assert np.array_equal(found.missing, ~inside)
    wanted = joined(map_scene(every, TiledScene(Scene(tmp_path / "a.tif"), whole, grid)))
    assert np.allclose(found.values[:, inside], wanted.values[:, inside], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone.gpkg", "no file .*gone.gpkg"),
        ("text.gpkg", "is no file of vectors"),
        ("text.parquet", "is no GeoParquet"),
        ("far.gpkg", "no polygon lies in what is mapped"),
        ("plain.gpkg", "has no reference system"),
    ],
)
def test_what_is_no_region_is_one_line(tmp_path: Path, name: str, said: str) -> None:
    for text in ("text.gpkg", "text.parquet"):
        (tmp_path / text).write_text("no")
    layer(tmp_path / "far.gpkg", [ground(500, 500, 600, 600)])
    layer(tmp_path / "plain.gpkg", [ground(0, 0, 9, 9)], crs=None)
    with pytest.raises((FileNotFoundError, ValueError), match=said) as error:
        Region(tmp_path / name, Area(50, 50, CRS, TRANSFORM), Window(0, 0, 50, 50))
    assert "\n" not in str(error.value)


def test_the_command_maps_what_a_mask_holds_and_writes_features(tmp_path: Path) -> None:
    scene = write(tmp_path / "a.tif", noise(200, 260))
    mask = layer(tmp_path / "fields.geojson", [ground(96, 64, 160, 128)], crs="EPSG:32633")
    outcome = in_process.run(
        "tools/map.py", "random:test_resnet", scene, "--out", tmp_path / "maps", "--tile", "64",
        "--mask", mask, "--vectors", "--form", "int8",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    with rasterio.open(tmp_path / "maps/embeddings.tif") as file:
        stored = file.read()
        values = stored * np.array(file.scales, dtype="float32")[:, None, None]
        cells, squares = stored[0] != file.nodata, file.bounds
    import pyarrow.parquet as pq

    table = pq.read_table(tmp_path / "maps/embeddings.parquet")
    assert len(table) == cells.sum() > 0
    found = np.stack(table["embedding"].to_numpy())
    assert np.allclose(found, values[:, cells].T)
    shapes, crs = read_geometries(tmp_path / "maps/embeddings.parquet")
    assert crs == CRS
    assert tuple(shapely.total_bounds(shapes)) == tuple(squares)
    assert shapely.contains(ground(95, 63, 161, 129), shapes).all()


def test_a_folder_a_virtual_raster_and_a_list_are_one_scene(tmp_path: Path) -> None:
    array = noise(40, 90)
    parts = [
        write(tmp_path / f"tiles/{n}.tif", array[:, :, left:right],
              transform=TRANSFORM * TRANSFORM.translation(left, 0))
        for n, (left, right) in enumerate([(0, 30), (30, 70), (70, 90)])
    ]  # fmt: skip
    sources = "".join(
        f"<SimpleSource><SourceFilename>{path}</SourceFilename><SourceBand>{{0}}</SourceBand>"
        f'<SrcRect xOff="0" yOff="0" xSize="{width}" ySize="40"/>'
        f'<DstRect xOff="{left}" yOff="0" xSize="{width}" ySize="40"/></SimpleSource>'
        for path, left, width in zip(parts, (0, 30, 70), (30, 40, 20), strict=True)
    )
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{n}">{sources.format(n)}</VRTRasterBand>'
        for n in (1, 2, 3)
    )
    grid = ", ".join(map(str, TRANSFORM.to_gdal()))
    virtual = tmp_path / "all.vrt"
    virtual.write_text(
        f'<VRTDataset rasterXSize="90" rasterYSize="40"><SRS>EPSG:32633</SRS>'
        f"<GeoTransform>{grid}</GeoTransform>{bands}</VRTDataset>"
    )
    for paths in (tmp_path / "tiles", virtual, [*map(str, reversed(parts))]):
        scene = Scene(paths)
        values, missing = scene.read(Window(0, 0, 40, 90))
        assert np.array_equal(values, array)
        assert not missing.any()


def test_scenes_of_other_grids_are_resampled_to_one_where_asked(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:40, :60]
    ramp = (2 * rows + 3 * columns).astype("uint16")[None]
    write(tmp_path / "a.tif", ramp[:, :, :30])
    half = ramp.reshape(1, 20, 2, 30, 2).mean(axis=(2, 4)).astype("uint16")
    coarse = TRANSFORM * TRANSFORM.scale(2)
    write(tmp_path / "b.tif", half, transform=coarse)
    with pytest.raises(ValueError, match=r"b.tif has another grid than .*a.tif \(pixels of"):
        Scene(tmp_path)
    scene = Scene(tmp_path, resolution=10)
    assert (scene.area.height, scene.area.width) == (40, 60)
    values, missing = scene.read(Window(0, 0, 40, 60))
    assert not missing.any()
    assert np.array_equal(values[0, :, :30], ramp[0, :, :30])
    inner = np.s_[0, 2:-2, 32:-2]
    assert np.abs(values[inner] - ramp[inner]).max() < 1.5
    whole = Scene(tmp_path, resolution=20).read(Window(0, 0, 20, 30))[0]
    assert np.abs(whole[0, :, :14] - half[0, :, :14]).max() <= 1
    write(tmp_path / "b.tif", half, crs="EPSG:32632", transform=coarse)
    with pytest.raises(ValueError, match=r"reference systems EPSG:32633 and EPSG:32632"):
        Scene(tmp_path)


def test_bounds_of_a_rotated_scene_take_all_their_corners() -> None:
    turned = TRANSFORM * rasterio.Affine.rotation(45)
    area = Area(100, 100, CRS, turned)
    x, y = turned * (50, 50)
    window = area.window((x - 100, y - 100, x + 100, y + 100))
    assert window == Window(36, 36, 28, 28)
    assert json.loads(json.dumps(window)) == [36, 36, 28, 28]
