"""Objects of whole scenes: each once, whatever the tiles, and where the scene lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from torchvision.ops import nms

rasterio = pytest.importorskip("rasterio", reason="extra geo is not installed")
gpd = pytest.importorskip("geopandas")
shapely = pytest.importorskip("shapely")

from cmid.data.windows import Window  # noqa: E402
from cmid.inference.boxes import Boxes, find_boxes, polygons, write_boxes  # noqa: E402
from cmid.inference.scenes import Scene  # noqa: E402
from cmid.inference.tiled import TiledScene  # noqa: E402
from cmid.inference.tiles import TileGrid  # noqa: E402

SIDE = 240
TRANSFORM = rasterio.transform.from_origin(500_000, 5_000_000, 10, 10)


class Blobs:
    """Finds bright patches: a box along their longest axis, with their brightness as score."""

    stride, fill, classes = 4, (0.0,), ("dark", "bright")

    def __init__(self) -> None:
        self.tiles = 0

    def __call__(self, pixels: torch.Tensor) -> list[Boxes]:
        self.tiles += len(pixels)
        return [self._find(image[0].numpy()) for image in pixels]

    def _find(self, image: np.ndarray) -> Boxes:
        marked, count = ndimage.label(image)
        patches = [np.nonzero(marked == n + 1) for n in range(count)]
        patches = [(rows, columns) for rows, columns in patches if len(rows) > 1]
        table = np.zeros((len(patches), 7))
        for n, (rows, columns) in enumerate(patches):
            points = np.stack([columns, rows], axis=1) + 0.5
            _, axes = np.linalg.eigh(np.cov(points.T))
            angle = np.arctan2(axes[1, 1], axes[0, 1])
            turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
            along = (points - points.mean(axis=0)) @ turn.T
            score = image[rows[0], columns[0]] / 255
            table[n] = [*points.mean(axis=0), *np.ptp(along, axis=0) + 1, angle, score, score > 0.5]
        return Boxes.of(table)

    def merge(self, found: Boxes) -> np.ndarray:
        corners = shapely.bounds(polygons(found.boxes, rasterio.Affine.identity()))
        kept = nms(torch.from_numpy(corners), torch.from_numpy(found.scores), 0.5)
        return kept.numpy()


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Slanted bars 12 by 5 pixels, 30 pixels apart: some on every seam; a part is missing."""
    generator = np.random.default_rng(0)
    image = np.zeros((SIDE, SIDE), dtype=np.uint8)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for x in range(12, SIDE, 30):
        for y in range(12, SIDE, 30):
            angle = generator.uniform(0, np.pi)
            along = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
            across = (rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)
            image[(abs(along) <= 6) & (abs(across) <= 2.5)] = generator.integers(60, 250)
    path = tmp_path / "scene.tif"
    profile = {"driver": "GTiff", "count": 1, "height": SIDE, "width": SIDE, "dtype": "uint8"}
    with rasterio.open(path, "w", crs="EPSG:32633", transform=TRANSFORM, **profile) as file:
        file.write(image, 1)
    return path


def grid(size: int, *, halo: int = 0, overlap: int = 0) -> TileGrid:
    return TileGrid(height=SIDE, width=SIDE, size=size, halo=halo, overlap=overlap, stride=4)


def found(model: Blobs, scene: Scene, tiles: TileGrid, batch_size=4, **options) -> Boxes:
    tiled = TiledScene(scene, Window(0, 0, SIDE, SIDE), tiles, batch_size)
    rows = [*find_boxes(model, tiled, **options)]
    assert [row.number for row in rows] == [*range(options.get("first", 0), len(tiles.tops))]
    return Boxes.of(np.concatenate([row.boxes.table for row in rows]))


def in_order(boxes: Boxes) -> np.ndarray:
    table = boxes.table
    return table[np.lexsort(table[:, :2].T.round(3))]


@pytest.mark.parametrize(("halo", "overlap", "batch_size"), [(8, 12, 3), (8, 16, 1), (12, 8, 8)])
def test_an_object_on_a_seam_is_found_once_and_whole(scene, halo, overlap, batch_size):
    model = Blobs()
    whole = found(model, Scene(scene), grid(SIDE))
    tiles = grid(64, halo=halo, overlap=overlap)
    parts = found(model, Scene(scene), tiles, batch_size=batch_size)
    assert len(whole.boxes) == 64
    assert len(parts.boxes) > 64
    assert np.allclose(in_order(parts[model.merge(parts)]), in_order(whole), atol=1e-6)


def test_flips_and_turns_find_the_same_objects(scene):
    model = Blobs()
    once = found(model, Scene(scene), grid(80, halo=8))
    turned = found(model, Scene(scene), grid(80, halo=8), turns=True)
    assert len(turned.boxes) == 8 * len(once.boxes)
    a = polygons(in_order(once)[:, :5], TRANSFORM)
    b = polygons(in_order(turned)[:, :5], TRANSFORM).reshape(len(a), 8)
    shared = shapely.area(shapely.intersection(a[:, None], b))
    assert (shared / shapely.area(a)[:, None] > 0.999).all()
    assert np.allclose(shapely.area(b), shapely.area(a)[:, None])


def test_nothing_is_found_where_nothing_is_known(scene):
    with rasterio.open(scene, "r+") as file:
        file.nodata = 0
        image = file.read()
        image[0, image[0] == 0] = 1
        image[:, :, :100] = 0
        file.write(image)
    model = Blobs()
    boxes = found(model, Scene(scene), grid(48)).boxes
    assert (boxes[:, 0] >= 100).all()
    assert model.tiles == 3 * 5


def test_objects_lie_where_the_scene_lies_and_go_on_after_an_interruption(scene, tmp_path):
    model, tiles, source = Blobs(), grid(64, halo=8, overlap=8), Scene(scene)
    window = Window(30, 60, 180, 170)
    tiles = TileGrid(height=180, width=170, size=64, halo=8, overlap=8, stride=4)

    def rows(first: int, *, stop: int | None = None):
        tiled = TiledScene(source, window, tiles)
        for row in find_boxes(model, tiled, first=first):
            if row.number == stop:
                raise KeyboardInterrupt
            yield row

    def make(out: Path, stop: int | None = None, *, resume: bool = False) -> list[Path]:
        place = {"area": source.area.part(window), "job": {}, "resume": resume}
        return write_boxes(
            out, model, lambda first: rows(first, stop=stop), count=len(tiles.tops), **place
        )

    whole = make(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "maps", 2)
    again = make(tmp_path / "maps", resume=True)
    assert whole[0].read_bytes() == again[0].read_bytes()
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == [
        "boxes.gpkg",
        "boxes.parquet",
    ]
    parquet, package = gpd.read_parquet(again[0]), gpd.read_file(again[1])
    for table in (parquet, package):
        assert table.crs == "EPSG:32633"
        assert table["score"].is_monotonic_decreasing
        assert set(table["class"]) == {"dark", "bright"}
    assert parquet.geometry.geom_equals(package.geometry).all()
    with rasterio.open(scene) as file:
        image = file.read(1)
    for score, place in zip(parquet["score"], parquet.geometry.centroid, strict=True):
        column, row = ~TRANSFORM * (place.x, place.y)
        assert 60 <= column < 230
        assert 30 <= row < 210
        assert image[int(row), int(column)] == round(255 * score)


def test_a_scene_without_objects_has_empty_layers(scene, tmp_path):
    with rasterio.open(scene, "r+") as file:
        file.write(np.zeros((1, SIDE, SIDE), dtype=np.uint8))
    source = Scene(scene)
    model, tiles = Blobs(), grid(64)
    paths = write_boxes(
        tmp_path,
        model,
        lambda first: find_boxes(model, TiledScene(source, Window(0, 0, SIDE, SIDE), tiles)),
        count=len(tiles.tops),
        area=source.area,
        job={},
    )
    assert len(gpd.read_parquet(paths[0])) == len(gpd.read_file(paths[1])) == 0


def test_another_scene_does_not_overwrite_objects(scene, tmp_path):
    source, model, tiles = Scene(scene), Blobs(), grid(64)
    tiled = TiledScene(source, Window(0, 0, SIDE, SIDE), tiles)

    def make(name: str) -> list[Path]:
        return write_boxes(
            tmp_path / "maps",
            model,
            lambda first: find_boxes(model, tiled, first=first),
            count=len(tiles.tops),
            area=source.area,
            job={"files": [[str(tmp_path / name), 0]]},
        )

    paths = make("a.tif")
    assert make("a.tif") == paths
    before, seen = [path.read_bytes() for path in paths], model.tiles
    for number, path in enumerate(paths):
        with pytest.raises(ValueError, match=rf"{path.name} is a map of .*a.tif: give another --"):
            make("b.tif")
        assert path.read_bytes() == before[number]
        path.unlink()  # then the other layer is what would be lost
    own = gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:32633")
    for path, write in zip(paths, (own.to_parquet, own.to_file), strict=True):
        write(path)
        with pytest.raises(ValueError, match=rf"{path.name} is no map: give another --out"):
            make("a.tif")
        path.unlink()
    assert model.tiles == seen  # it is refused before anything is computed
    assert not (tmp_path / "maps/unfinished").exists()
