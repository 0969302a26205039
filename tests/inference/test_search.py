"""Search among embeddings: exact, of the model that made them, and hits lie where they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.integration import in_process

rasterio = pytest.importorskip("rasterio")
warp = pytest.importorskip("rasterio.warp")
pytest.importorskip("lancedb")
pytest.importorskip("faiss")
import pyarrow.parquet as pq  # noqa: E402
import pyogrio  # noqa: E402
import shapely  # noqa: E402

from cmid.inference.embedding_maps import EmbeddingMap  # noqa: E402
from cmid.inference.hits import displayed, hit_pictures  # noqa: E402
from cmid.inference.index import SearchIndex, build_index  # noqa: E402
from cmid.inference.products import Embeddings, SmallEmbeddings  # noqa: E402
from cmid.inference.scenes import Area  # noqa: E402
from cmid.inference.streaming import Piece  # noqa: E402
from cmid.inference.writing import write_maps  # noqa: E402

TRANSFORM = rasterio.transform.from_origin(500_000, 5_000_000, 320, 320)
CRS = rasterio.crs.CRS.from_epsg(32633)
JOB = {"model": "m", "digest": "d", "bands": None, "sensor": None, "nodata": None, "files": []}


def write_map(
    folder: Path, values: np.ndarray, missing: np.ndarray | None = None, *, int8=False, **job
) -> Path:
    """A map of embeddings ``(D, rows, columns)``."""
    names = tuple(f"feature {n}" for n in range(len(values)))
    missing = np.zeros(values.shape[1:], dtype=bool) if missing is None else missing
    scales = tuple((np.abs(values).max(axis=(1, 2)) / 127).tolist())
    (path,) = write_maps(
        folder,
        [SmallEmbeddings(names, scales) if int8 else Embeddings(names)],
        lambda first: iter([Piece(0, 0, 0, np.where(missing, 0, values), missing)]),
        count=1,
        area=Area(*values.shape[1:], CRS, TRANSFORM),
        job={**JOB, **job},
    )
    return path


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.parametrize(("int8", "channels"), [(False, 24), (True, 24), (False, 32)])
def test_a_search_finds_the_most_similar_cells_of_all(tmp_path, int8, channels):
    values, missing = noise(channels, 30, 40), np.zeros((30, 40), dtype=bool)
    missing[:5] = True
    index = build_index([write_map(tmp_path / "a", values, missing, int8=int8)], tmp_path / "index")
    assert (len(index), index.about["left_out"]) == (25 * 40, 5 * 40)
    unit = values / np.linalg.norm(values, axis=0)
    for seed in range(5):
        query = noise(channels, seed=seed + 1)
        scores = np.einsum("dij,d->ij", unit, query / np.linalg.norm(query))
        scores[missing] = -1
        wanted = np.argsort(-scores, axis=None)[:10]
        hits = index.search(query, count=10)
        found = [hit.row * 40 + hit.column for hit in hits]
        assert len({*found} & {*wanted.tolist()}) >= (9 if int8 else 10)
        assert np.allclose(
            [h.score for h in hits], np.sort(scores, axis=None)[-10:][::-1], atol=0.01
        )


def test_of_many_cells_codes_tell_candidates_and_vectors_the_order(tmp_path, monkeypatch):
    monkeypatch.setattr("cmid.inference.index._EXACT", 1000)
    values = noise(24, 40, 50)
    index = build_index([write_map(tmp_path / "a", values)], tmp_path / "index")
    unit = values / np.linalg.norm(values, axis=0)
    for seed in range(5):
        query = noise(24, seed=seed + 1)
        scores = np.einsum("dij,d->ij", unit, query / np.linalg.norm(query))
        wanted = np.argsort(-scores, axis=None)[:10].tolist()
        hits = index.search(query, count=10)
        assert len({h.row * 50 + h.column for h in hits} & {*wanted}) >= 9
        assert all(abs(h.score - scores[h.row, h.column]) < 2e-3 for h in hits)
        exact = index.search(query, count=10, exact=True)
        assert [h.row * 50 + h.column for h in exact] == wanted
    assert (tmp_path / "index/codes.faiss").stat().st_size < 2000 * 24


def test_hits_keep_their_distance_and_are_the_best_that_do(tmp_path):
    values = noise(8, 20, 20)
    index = build_index([write_map(tmp_path / "a", values)], tmp_path / "index")
    query = values[:, 10, 10]
    scores = np.einsum("dij,d->ij", values / np.linalg.norm(values, axis=0), query)
    wanted = []
    for number in np.argsort(-scores, axis=None):
        place = np.array(divmod(number, 20))
        if all(np.abs(place - other).max() >= 3 for other in wanted):
            wanted.append(place)
    found = [(hit.row, hit.column) for hit in index.search(query, count=6, apart=3)]
    assert found == [tuple(place) for place in wanted[:6]]
    assert found[0] == (10, 10)


def test_several_maps_are_one_index_if_they_fit(tmp_path):
    paths = [write_map(tmp_path / name, noise(8, 6, 7, seed=n)) for n, name in enumerate("ab")]
    index = build_index(paths, tmp_path / "index")
    values, _ = EmbeddingMap(paths[1]).at([TRANSFORM.c + 3.5 * 320], [TRANSFORM.f - 2.5 * 320])
    (best,) = SearchIndex(tmp_path / "index").search(values[0], count=1)
    assert (best.map, best.row, best.column) == (1, 2, 3)
    assert best.score == pytest.approx(1, abs=1e-3)
    assert len(index) == 2 * 6 * 7
    other = write_map(tmp_path / "c", noise(8, 6, 7), digest="another")
    with pytest.raises(ValueError, match=r"c/embeddings.tif is of another digest than .*a/embed"):
        build_index([*paths, other], tmp_path / "both")
    nothing = write_map(tmp_path / "d", noise(8, 6, 7), np.ones((6, 7), dtype=bool))
    with pytest.raises(ValueError, match="no cell with an embedding"):
        build_index([nothing], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_places_of_another_reference_system_are_found(tmp_path):
    values = noise(4, 6, 7)
    each = EmbeddingMap(write_map(tmp_path / "a", values))
    x, y = TRANSFORM * (4.5, 2.5)
    there = warp.transform(CRS, "EPSG:4326", [x, 0], [y, 0])
    found, known = each.at(*there, crs=rasterio.crs.CRS.from_epsg(4326))
    assert known.tolist() == [True, False]
    assert np.allclose(found[0], values[:, 2, 4], atol=2e-3)


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """A folder with a scene, its map and the index of that."""
    folder = tmp_path_factory.mktemp("mapped")
    pixels = np.random.default_rng(0).integers(1, 3000, (3, 256, 320)).astype("uint16")
    pixels[:, 64:96, 128:160] //= 20  # one place is dark
    transform = rasterio.transform.from_origin(500_000, 5_000_000, 10, 10)
    shape = {"count": 3, "height": 256, "width": 320, "dtype": "uint16", "crs": CRS}
    with rasterio.open(folder / "a.tif", "w", "GTiff", transform=transform, **shape) as file:
        file.write(pixels)
    from cmid.data.statistics import ChannelStatistics
    from cmid.export import to_timm
    from cmid.models import MaskedEncoder

    flat = {"mean": (0.5,) * 3, "std": (0.3,) * 3, "low": (0.0,) * 3, "high": (3000.0,) * 3}
    statistics = ChannelStatistics(**flat, dtype="float32", kind="uint16")
    encoder = MaskedEncoder("test_resnet", img_size=64)
    to_timm(encoder, folder / "backbone", statistics=statistics)
    maps = ["tools/map.py", folder / "backbone", folder / "a.tif", "--out", folder / "maps"]
    build = ["tools/search.py", "build", folder / "maps/embeddings.tif", "--out", folder / "index"]
    for command in ([*maps, "--tile", "128"], build):
        outcome = in_process.run(*command)
        assert outcome.status == 0, outcome.err
    assert "80 cells, 0 without an embedding left out" in outcome.out
    return folder


@pytest.mark.parametrize("by", ["point", "image"])
def test_the_command_finds_a_place(mapped, tmp_path, by):
    query = ["--point", "501440", "4999200"]
    if by == "image":
        with rasterio.open(mapped / "a.tif") as file:
            window = rasterio.windows.Window(128, 64, 32, 32)
            profile = {**file.profile, "height": 32, "width": 32}
            with rasterio.open(tmp_path / "crop.tif", "w", **profile) as crop:
                crop.write(file.read(window=window))
        query = ["--image", tmp_path / "crop.tif"]
    outcome = in_process.run(
        "tools/search.py", "query", mapped / "index", *query, "--out", tmp_path, "--count", "5"
    )
    assert outcome.status == 0, outcome.err
    hits = pq.read_table(tmp_path / "hits.parquet").to_pydict()
    assert hits["rank"] == [1, 2, 3, 4, 5]
    assert hits["score"] == sorted(hits["score"], reverse=True)
    assert (hits["row"][0], hits["column"][0]) == (2, 4)
    assert (hits["x"][0], hits["y"][0]) == (501_440, 4_999_200)
    assert Image.open(tmp_path / "hits.png").width > 500


def test_pictures_of_hits_show_the_scene_around_them(mapped):
    index = SearchIndex(mapped / "index")
    point, _ = EmbeddingMap(mapped / "maps/embeddings.tif").at([500_010], [4_999_990])
    (hit,) = index.search(point[0], count=1)
    (picture,) = hit_pictures(index.about, [hit], size=40)
    with rasterio.open(mapped / "a.tif") as file:
        assert np.array_equal(picture[:, 4:, 4:], file.read()[:, :36, :36])
    assert not picture[:, :4].any()
    (shown,) = displayed([picture])
    assert (shown.shape, shown.dtype) == ((40, 40, 3), np.uint8)


def test_what_cannot_be_searched_is_one_line(mapped, tmp_path):
    def fails(*arguments, said):
        outcome = in_process.run("tools/search.py", *arguments)
        assert outcome.status
        assert said in outcome.err.splitlines()[-1]

    query = ["query", mapped / "index", "--out", tmp_path / "hits"]
    fails(*query, said="one of --image, --point and --text")
    fails(*query, "--point", "0", "0", said="--point 0 0 lies outside the maps")
    fails(*query, "--text", "water", said="--text needs maps of a CLIP")
    fails("query", tmp_path, "--point", "0", "0", "--out", tmp_path, said="is no index: make one")
    fails("build", mapped / "a.tif", "--out", tmp_path / "i", said="is no map of embeddings")
    fails("build", "gone.tif", "--out", tmp_path / "i", said="gone.tif does not exist")
    Image.new("RGB", (40, 40), (9, 9, 9)).save(tmp_path / "eight.png")
    fails(*query, "--image", tmp_path / "eight.png", said="uint16")
    config = mapped / "index/index.json"
    about = json.loads(config.read_text())
    try:
        config.write_text(json.dumps({**about, "job": {**about["job"], "digest": "0"}}))
        fails(*query, "--image", mapped / "a.tif", said="is not the model that made the maps")
    finally:
        config.write_text(json.dumps(about))
    assert not (tmp_path / "hits").exists()
    assert not (tmp_path / "i").exists()


def write_points(path: Path, places: list[tuple[float, float]], crs: str = "EPSG:4326") -> Path:
    """Points of the map's reference system as GeoPackage in another one."""
    x, y = warp.transform(CRS, crs, *zip(*places, strict=True))
    points = shapely.to_wkb(shapely.points(x, y))
    options = {"driver": "GPKG", "geometry_type": "Point", "crs": crs, "field_data": []}
    pyogrio.raw.write(path, points, fields=[], **options)
    return path


def test_a_few_clicks_map_what_resembles_them(mapped, tmp_path):
    values, dark = noise(16, 20, 30), np.zeros((20, 30), dtype=bool)
    dark[8:14, 5:20] = True
    values[:4, dark] += 4
    missing = np.zeros((20, 30), dtype=bool)
    missing[:, 29] = True
    path = write_map(tmp_path / "a", values, missing)

    def at(cells):
        return [TRANSFORM * (column + 0.5, row + 0.5) for row, column in cells]

    yes = write_points(tmp_path / "yes.gpkg", at([(9, 6), (10, 12), (12, 18), (13, 7)]))
    others = [(row, column) for row in (1, 4, 16, 19) for column in range(1, 29, 5)]
    no = write_points(tmp_path / "no.gpkg", at([*others, (5, 29)]))
    clicks = ["--positives", yes, "--negatives", no, "--name", "tank"]
    build_index([path], tmp_path / "index")
    for source in (path, tmp_path / "index"):
        out = tmp_path / f"maps of {source.stem}"
        words = ["tools/search.py", "classify", source, *clicks, "--out", out]
        outcome = in_process.run(*words)
        assert outcome.status == 0, outcome.err
        assert "other: 24 points, 1 without an embedding left out" in outcome.out
        with rasterio.open(out / "classes.tif") as file:
            classes = file.read(1)
            assert (file.tags(1)["class_1"], file.transform) == ("tank", TRANSFORM)
        assert (classes[missing] == 255).all()
        assert ((classes == 1) == dark)[~missing].mean() > 0.9
        with rasterio.open(out / "probabilities.tif") as file:
            probability = file.read(2) * file.scales[1]
        assert ((probability > 0.49) >= (classes == 1))[~missing].all()
        assert ((probability < 0.51) >= (classes == 0))[~missing].all()
    other = shutil.copy(path, tmp_path / "other.tif")
    outcome = in_process.run("tools/search.py", "classify", other, *clicks, "--out", out)
    assert f"classes.tif is a map of {path}: give another --out" in outcome.err
    lost = write_points(tmp_path / "lost.gpkg", [(0, 0), (1, 1)])
    clicks = ["--positives", lost, "--negatives", no, "--out", tmp_path / "lost"]
    outcome = in_process.run("tools/search.py", "classify", path, *clicks)
    assert "none of the 2 points of" in outcome.err
    assert not (tmp_path / "lost").exists()


def test_words_find_what_a_clip_places_near_them(tmp_path, tiny_clip):
    from cmid.vision_language.clip.building import build_clip
    from cmid.vision_language.clip.config import CLIPConfig
    from cmid.vision_language.clip.storage import save_clip

    clip = build_clip(CLIPConfig(tiny_clip)).eval()
    folder = save_clip(clip, tmp_path / "clip")
    pixels = np.random.default_rng(0).integers(0, 255, (3, 96, 96)).astype("uint8")
    shape = {"count": 3, "height": 96, "width": 96, "dtype": "uint8", "crs": CRS}
    with rasterio.open(tmp_path / "a.tif", "w", "GTiff", transform=TRANSFORM, **shape) as file:
        file.write(pixels)
    for words in (
        ["tools/map.py", folder, tmp_path / "a.tif", "--out", tmp_path],
        ["tools/search.py", "build", tmp_path / "embeddings.tif", "--out", tmp_path / "index"],
        ["tools/search.py", "query", tmp_path / "index", "--text", "a lake", "--out", tmp_path],
    ):
        outcome = in_process.run(*words)
        assert outcome.status == 0, outcome.err
    hits = pq.read_table(tmp_path / "hits.parquet").to_pydict()
    text = clip.encode_texts(["a lake"])[0].detach().numpy()
    (_, values, _), *_ = EmbeddingMap(tmp_path / "embeddings.tif").rows()
    scores = values @ (text / np.linalg.norm(text)) / np.linalg.norm(values, axis=-1)
    assert hits["score"][0] == pytest.approx(scores.max(), abs=2e-3)
