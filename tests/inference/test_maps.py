"""Maps of whole scenes: stitched equals whole, rasters lie where the scene lies, runs go on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from cmid.checkpoints import load_backbone
from cmid.data.windows import Window
from cmid.files import NoRoomError
from cmid.inference.embeddings import EmbeddingModel
from cmid.inference.tiled import TiledScene
from cmid.inference.tiles import TileGrid

rasterio = pytest.importorskip("rasterio")
pytest.importorskip("rio_cogeo")
from rio_cogeo.cogeo import cog_validate  # noqa: E402

from cmid.inference.products import Classes, Embeddings, Probabilities  # noqa: E402
from cmid.inference.scenes import Scene  # noqa: E402
from cmid.inference.streaming import Piece, map_scene  # noqa: E402
from cmid.inference.writing import write_maps  # noqa: E402
from cmid.visualization.maps import write_picture  # noqa: E402

TRANSFORM = rasterio.transform.from_origin(500_000, 5_000_000, 10, 10)


def write(path: Path, array: np.ndarray, **more) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"count": len(array), "height": array.shape[1], "width": array.shape[2]}
    georeference = {"crs": "EPSG:32633", "transform": TRANSFORM}
    profile = {"driver": "GTiff", "dtype": array.dtype, **shape, **georeference, **more}
    with rasterio.open(path, "w", **profile) as file:
        file.write(array)
    return path


def noise(height: int, width: int, *, bands: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 255, (bands, height, width)).astype("uint8")


class Convolutions(nn.Module):
    """Sees 8 pixels around; one cell for 4 pixels, or a number for each pixel."""

    channels, fill = 5, (0.0, 0.0, 0.0)

    def __init__(self, cell: int = 4) -> None:
        super().__init__()
        self.stride, self.cell = 4, cell
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first = nn.Conv2d(3, 8, 5, padding=2)
            self.second = nn.Conv2d(8, 5, 4, stride=4) if cell == 4 else nn.Conv2d(8, 5, 1)
        self.tiles = 0

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.tiles += len(pixels)
        return self.second(self.first(pixels.float() / 255).relu())


def stitched(
    model, scene: Scene, grid: TileGrid, window: Window, batch_size=4, **options
) -> np.ndarray:
    return joined(map_scene(model, TiledScene(scene, window, grid, batch_size), **options)).values


def joined(pieces: Iterable[Piece]) -> Piece:
    """What pieces are together; each lies where the ones before it end."""
    strips, row = [], 0
    for _, some in groupby(pieces, key=lambda piece: piece.number):
        strip, column = [*some], 0
        for piece in strip:
            assert (piece.row, piece.column) == (row, column)
            assert piece.values.shape[1:] == piece.missing.shape
            column += piece.values.shape[2]
        row += strip[0].values.shape[1]
        strips.append(strip)
    values = np.block([[piece.values for piece in strip] for strip in strips])
    return Piece(0, 0, 0, values, np.block([[piece.missing for piece in s] for s in strips]))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 70), st.integers(1, 70), st.integers(2, 8), st.integers(0, 2), st.integers(0, 3)
)
def test_weights_of_all_tiles_add_up_to_their_totals(height, width, size, halo, overlap):
    if size - 2 * halo - overlap <= 0:
        with pytest.raises(ValueError, match="leave nothing of a tile"):
            TileGrid(height=height, width=width, size=size, halo=halo, overlap=overlap)
        return
    grid = TileGrid(
        height=height, width=width, size=4 * size, halo=4 * halo, overlap=4 * overlap, stride=4
    )
    for cell in (1, 4):
        total = np.zeros([length // cell for length in grid.padded], dtype=np.float32)
        for number in range(len(grid.tops)):
            for place in range(len(grid.lefts)):
                tile = grid.tile(number, place)
                assert tile.top % 4 == tile.left % 4 == 0
                rows, columns = (slice(s.start // cell, s.stop // cell) for s in tile.slices)
                total[rows, columns] += grid.weights(tile, cell)
        assert np.allclose(total, np.outer(*grid.totals(cell)), atol=1e-5)
        assert total.min() > 0
        for side, length in zip(grid.reaches(cell), grid.padded, strict=True):
            assert [reach.first for reach in side[1:]] == [reach.done for reach in side[:-1]]
            assert side[-1].done == side[-1].stop == length // cell
            # This is what is held along the whole scene, however close its last tiles lie.
            assert {reach.stop - reach.done for reach in side} <= {0, 4 * overlap // cell}


@pytest.mark.parametrize("cell", [1, 4])
@pytest.mark.parametrize("overlap", [0, 8])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_stitched_map_equals_the_whole_scene(tmp_path, cell, overlap, batch_size):
    array = noise(120, 96)
    scene = Scene(write(tmp_path / "a.tif", array))
    model = Convolutions(cell)
    grid = TileGrid(height=120, width=96, size=32, halo=8, overlap=overlap, stride=4)
    found = stitched(model, scene, grid, Window(0, 0, 120, 96), batch_size=batch_size)
    with torch.no_grad():
        whole = model(torch.from_numpy(array)[None])[0].numpy()
    assert np.abs(found - whole).max() < 1e-5


def test_a_backbone_s_map_equals_its_features_of_the_whole_scene(tmp_path):
    array = noise(256, 320)
    scene = Scene(write(tmp_path / "a.tif", array))
    model = EmbeddingModel(load_backbone("random:test_resnet"))
    halo = 2 * model.stride
    grid = TileGrid(height=256, width=320, size=192, halo=halo, overlap=32, stride=model.stride)
    found = stitched(model, scene, grid, Window(0, 0, 256, 320))
    with torch.no_grad():
        whole = model(torch.from_numpy(array)[None])[0].numpy()
    assert found.shape == whole.shape
    inner = np.abs(found - whole)
    assert inner.max() < 1e-5 * max(1, np.abs(whole).max())


def test_scenes_whose_sides_are_no_multiples_are_mapped_to_the_border(tmp_path):
    scene = Scene(write(tmp_path / "a.tif", noise(45, 67)))
    model = Convolutions()
    grid = TileGrid(height=45, width=67, size=32, halo=4, overlap=4, stride=4)
    found = stitched(model, scene, grid, Window(0, 0, 45, 67))
    assert found.shape == (5, 12, 17)
    assert np.isfinite(found).all()
    small = TileGrid(height=5, width=7, size=32, halo=4, overlap=4, stride=4)
    assert stitched(model, scene, small, Window(3, 4, 5, 7)).shape == (5, 2, 2)


def test_tiles_without_a_valid_pixel_cost_nothing(tmp_path):
    array = noise(128, 128)
    array[:, :, :64] = 0
    scene = Scene(write(tmp_path / "a.tif", array, nodata=0))
    model = Convolutions()
    grid = TileGrid(height=128, width=128, size=32, halo=0, overlap=0, stride=4)
    pieces = [*map_scene(model, TiledScene(scene, Window(0, 0, 128, 128), grid))]
    assert model.tiles == 8
    assert len(pieces) == 16
    for piece in pieces:
        assert (piece.missing == (piece.column < 16)).all()
        assert piece.values.any() == (piece.column >= 16)


def test_flips_and_turns_are_undone(tmp_path):
    class Position(Convolutions):
        def forward(self, pixels):
            return pixels[:, :1].float().repeat(1, 5, 1, 1)[..., ::4, ::4]

    class Blocks(Convolutions):
        def forward(self, pixels):
            return nn.functional.avg_pool2d(pixels[:, :1].float(), 4).repeat(1, 5, 1, 1)

    array = noise(64, 64)
    scene = Scene(write(tmp_path / "a.tif", array))
    grid = TileGrid(height=64, width=64, size=32, halo=0, overlap=0, stride=4)
    window = Window(0, 0, 64, 64)
    once, turned = (stitched(Blocks(), scene, grid, window, turns=t) for t in (False, True))
    assert np.allclose(once, turned, atol=1e-3)
    once, turned = (stitched(Position(), scene, grid, window, turns=t) for t in (False, True))
    assert not np.allclose(once, turned, atol=1e-3)


def test_a_later_strip_is_the_same_when_a_map_begins_with_it(tmp_path):
    scene = Scene(write(tmp_path / "a.tif", noise(200, 60)))
    model = Convolutions()
    grid = TileGrid(height=200, width=60, size=48, halo=12, overlap=12, stride=4)
    window = Window(0, 0, 200, 60)
    tiled = TiledScene(scene, window, grid)
    whole = [*map_scene(model, tiled)]
    for first in (1, 5, len(grid.tops) - 1):
        rest = [*map_scene(model, tiled, first=first)]
        assert [piece.number for piece in rest[:: len(grid.lefts)]] == [
            *range(first, len(grid.tops))
        ]
        for a, b in zip(whole[first * len(grid.lefts) :], rest, strict=True):
            assert (a.row, a.column) == (b.row, b.column)
            assert np.array_equal(a.values, b.values)


def test_scenes_of_one_grid_are_one(tmp_path):
    array = noise(40, 90)
    write(tmp_path / "left.tif", array[:, :, :50])
    moved = TRANSFORM * TRANSFORM.translation(50, 0)
    write(tmp_path / "right.tif", array[:, :30, 50:], transform=moved)
    scene = Scene(tmp_path)
    assert (scene.area.height, scene.area.width) == (40, 90)
    values, missing = scene.read(Window(10, 40, 30, 30))
    assert np.array_equal(values[:, :20], array[:, 10:30, 40:70])
    assert missing[20:, 10:].all()
    assert not missing[:20].any()
    write(tmp_path / "shifted.tif", array, transform=TRANSFORM * TRANSFORM.translation(0.5, 0))
    with pytest.raises(ValueError, match=r"shifted.tif has another grid than .*left.tif"):
        Scene(tmp_path)


def test_classes_and_probabilities_say_what_they_are(tmp_path):
    values = np.random.default_rng(0).normal(size=(3, 20, 30)).astype("float32")
    missing = np.zeros((20, 30), dtype=bool)
    missing[:5] = True
    scene = Scene(write(tmp_path / "a.tif", noise(20, 30)))
    products = [Classes(("water", "forest", "town"), [(0, 0, 255), (0, 128, 0), (9, 9, 9)])]
    paths = write_maps(
        tmp_path / "maps",
        [*products, Probabilities(products[0].names)],
        lambda first: iter([Piece(0, 0, 0, values, missing)]),
        count=1,
        area=scene.area,
        job={},
    )
    with rasterio.open(paths[0]) as file:
        found = file.read(1)
        assert (found[5:] == values.argmax(axis=0)[5:]).all()
        assert (found[:5] == file.nodata).all()
        assert file.colormap(1)[1] == (0, 128, 0, 255)
        assert file.tags(1)["class_2"] == "town"
        assert (file.crs, file.transform) == (scene.area.crs, scene.area.transform)
    with rasterio.open(paths[1]) as file:
        wanted = torch.from_numpy(values).softmax(dim=0).numpy()
        assert np.abs(file.read()[:, 5:] * file.scales[0] - wanted[:, 5:]).max() < 0.5 / 254 + 1e-6
        assert file.descriptions == ("water", "forest", "town")
    assert all(cog_validate(path, quiet=True)[0] for path in paths)
    assert sorted(p.name for p in (tmp_path / "maps").iterdir()) == [
        "classes.tif",
        "probabilities.tif",
    ]
    pixels = np.array(Image.open(write_picture(paths[0])))
    assert (pixels[:5, :, 3] == 0).all()
    colours = np.array(products[0].colours)
    assert (pixels[5:, :, :3] == colours[values.argmax(axis=0)[5:]]).all()
    grey = np.array(Image.open(write_picture(paths[1])))[5:, :, 0].ravel()
    assert np.corrcoef(grey, wanted[0, 5:].ravel())[0, 1] > 0.95


def test_a_map_that_was_interrupted_goes_on_with_the_same_bytes(tmp_path):
    scene = Scene(write(tmp_path / "a.tif", noise(300, 100)))
    model = Convolutions()
    grid = TileGrid(height=300, width=100, size=48, halo=8, overlap=8, stride=4)
    window = Window(0, 0, 300, 100)
    tiled = TiledScene(scene, window, grid)
    asked = []

    def pieces(first: int, *, stop: int | None = None) -> Iterator[Piece]:
        asked.append(first)
        for piece in map_scene(model, tiled, first=first):
            if piece.number == stop:
                raise KeyboardInterrupt
            yield piece

    def make(out: Path, *, stop: int | None = None, job: str = "this", resume: bool = False):
        return write_maps(
            out,
            [Embeddings(tuple("abcde"))],
            lambda first: pieces(first, stop=stop),
            count=len(grid.tops),
            area=scene.area.part(window, 4),
            job={"job": job},
            resume=resume,
        )

    (whole,) = make(tmp_path / "whole")
    out = tmp_path / "maps"
    with pytest.raises(KeyboardInterrupt):
        make(out, stop=4)
    (out / "unfinished/.embeddings-000004.npy.7.part").write_bytes(b"half")
    assert not (out / "embeddings.tif").exists()
    with pytest.raises(FileExistsError, match="go on with --resume"):
        make(out)
    with pytest.raises(ValueError, match="is of a map with another job"):
        make(out, job="other", resume=True)
    (again,) = make(out, resume=True)
    assert asked == [0, 0, 4]
    assert again.read_bytes() == whole.read_bytes()
    assert [*out.iterdir()] == [again]


@pytest.mark.parametrize("limit", [20_000, 100_000, 230_000, 300_000])
def test_a_full_disk_ends_in_one_line_and_leaves_no_half_of_a_map(tmp_path, limit):
    resource = pytest.importorskip("resource")
    area = Scene(write(tmp_path / "a.tif", noise(300, 200))).area
    values = np.random.default_rng(0).normal(size=(1, 300, 200)).astype("float32")
    missing = np.zeros((100, 200), dtype=bool)

    def make(*, resume: bool):
        return write_maps(
            tmp_path / "maps",
            [Embeddings(("a",))],
            lambda first: (
                Piece(n, 100 * n, 0, values[:, 100 * n : 100 * (n + 1)], missing)
                for n in range(first, 3)
            ),
            count=3,
            area=area,
            job={},
            resume=resume,
        )

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(NoRoomError, match="make room") as error:
            make(resume=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(error.value)
    assert [path.name for path in (tmp_path / "maps").iterdir()] == ["unfinished"]
    (whole,) = make(resume=True)
    with rasterio.open(whole) as file:
        assert np.array_equal(file.read(), values.astype("float16").astype("float32"))
