"""Search embeddings of whole scenes by example or by words, or classify them by a few clicks.

    python tools/search.py build maps/embeddings.tif --out index
    python tools/search.py query index --point X Y --out hits
    python tools/search.py query index --image crop.tif --out hits
    python tools/search.py query index --text "storage tanks" --out hits
    python tools/search.py classify index --positives a.gpkg --negatives b.gpkg --out maps/found

EMBEDDINGS are embeddings.tif that tools/map.py wrote. A query writes a contact sheet (hits.png),
and the cells that it found with their scores (hits.parquet, hits.gpkg). An image or a text is
embedded by the model that made the maps; texts by a CLIP. 'python tools/search.py VERB --help'
tells the options of a verb.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cmid.boundary import error_boundary
from cmid.command_line import choose, parse
from cmid.options import at_least, option

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cmid.data.windows import Window
    from cmid.inference.index import SearchIndex
    from cmid.inference.scenes import Scene
    from cmid.inference.streaming import DenseModel


@dataclass(frozen=True)
class BuildConfig:
    """An index.

    Attributes:
        embeddings: embeddings.tif of one model.
        out: new folder for the index.
    """

    embeddings: tuple[str, ...]
    out: str = option()


@dataclass(frozen=True)
class QueryConfig:
    """A search.

    Attributes:
        index: folder that build wrote.
        out: folder of hits.png, hits.parquet and hits.gpkg.
        image: what is searched for, a raster with the bands of the scenes.
        point: or a place in the scenes, x and y in their coordinates.
        text: or words, where a CLIP made the maps.
        count: number of hits.
        apart: least distance between hits, in cells.
        exact: compare the vectors of all cells: seconds for a million of them, where a search by
            their codes takes hundredths, and may miss one hit in a thousand.
        context: side of the pictures in pixels (default: three cells, 64 at least).
        device: where an image or a text is embedded, such as cpu or cuda (default: a GPU if there
            is one).
    """

    index: str
    out: str = option()
    image: str | None = None
    point: tuple[float, float] | None = None
    text: str | None = None
    count: Annotated[int, at_least(1, 1000)] = 11
    apart: Annotated[int, at_least(1, 10)] = 2
    exact: bool = False
    context: Annotated[int, at_least(1)] | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        if sum(given is not None for given in (self.image, self.point, self.text)) != 1:
            raise ValueError("give what to search for: one of --image, --point and --text")


@dataclass(frozen=True)
class ClassifyConfig:
    """A classifier by a few clicks.

    Attributes:
        source: folder that build wrote, or embeddings.tif.
        positives: points of what is looked for: GeoPackage, GeoJSON, GeoParquet ...
        negatives: points of anything else.
        out: folder of classes.tif and probabilities.tif; of several maps one for each, by number.
        name: what the class is called.
    """

    source: tuple[str, ...]
    positives: str = option()
    negatives: str = option()
    out: str = option()
    name: str = "found"


_VERBS: dict[str, tuple[type, str]] = {
    "build": (BuildConfig, "index maps of embeddings"),
    "query": (QueryConfig, "find cells that look like an image or a place"),
    "classify": (ClassifyConfig, "map what resembles points of a file"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and do what its verb says."""
    texts = {verb: text for verb, (_, text) in _VERBS.items()}
    verb, left = choose(texts, arguments, verb="search", description=__doc__)
    config, traceback = parse(
        _VERBS[verb][0], arguments=left, verb=f"search {verb}", description=__doc__
    )
    with error_boundary(traceback=traceback, memory="the number of maps"):
        works: dict[str, Callable[[Any], None]] = {
            "build": _build,
            "query": _query,
            "classify": _classify,
        }
        works[verb](config)


def _build(config: BuildConfig) -> None:
    from cmid.inference.index import build_index

    index = build_index(config.embeddings, config.out)
    print(
        f"index: {config.out}: {len(index)} cells,"
        f" {index.about['left_out']} without an embedding left out"
    )


def _query(config: QueryConfig) -> None:
    from rasterio.crs import CRS

    from cmid.inference.hits import displayed, hit_features, hit_pictures
    from cmid.inference.index import SearchIndex
    from cmid.inference.vectors import check_vectors, write_features
    from cmid.visualization.saving import save_figure
    from cmid.visualization.sheet import contact_sheet

    check_vectors()
    index = SearchIndex(config.index)
    query, example = _vector(config, index)
    hits = index.search(query, count=config.count, apart=config.apart, exact=config.exact)
    found, out = hit_features(index.about, hits), Path(config.out)
    crs = index.about["crs"] and CRS.from_wkt(index.about["crs"])
    for path in write_features(out / "hits", iter([found]), crs=crs):
        print(f"hits: {path}")
    pictures = [*example, *hit_pictures(index.about, hits, size=config.context)]
    titles = ["query"] * len(example) + [f"{n + 1}: {hit.score:.3f}" for n, hit in enumerate(hits)]
    places = [f"{x:.9g}, {y:.9g}" for x, y in zip(found["x"], found["y"], strict=True)]
    sheet = contact_sheet(displayed(pictures), titles, [""] * len(example) + places)
    print(f"hits: {save_figure(sheet, out / 'hits.png')}")


def _vector(
    config: QueryConfig, index: SearchIndex
) -> tuple[NDArray[np.float32], list[NDArray[Any]]]:
    """What is searched for, and its picture if it has one of its own."""
    if config.point is not None:
        return _at_point(config.point, index), []
    import torch

    device = config.device or ("cuda" if torch.cuda.is_available() else "cpu")
    job = index.about["job"]
    if config.text is not None:
        return _of_text(config.text, job, device), []
    from cmid.data.windows import Window
    from cmid.inference.embeddings import mean_embedding
    from cmid.inference.hits import open_like

    assert config.image is not None
    scene = open_like(job, [config.image])
    window = Window(0, 0, scene.area.height, scene.area.width)
    model, size = _model(scene, window, job, device)
    return mean_embedding(model, scene, window=window, size=size), [scene.read(window)[0]]


def _at_point(point: tuple[float, float], index: SearchIndex) -> NDArray[np.float32]:
    from cmid.inference.embedding_maps import EmbeddingMap

    for each in index.about["maps"]:
        (vector,), (known,) = EmbeddingMap(each["path"]).at(*([value] for value in point))
        if known:
            return vector
    raise ValueError(
        f"--point {point[0]:.9g} {point[1]:.9g} lies outside the maps of the index, or where they"
        " have no data"
    )


def _of_text(text: str, job: Mapping[str, Any], device: str) -> NDArray[np.float32]:
    from benchmarks.vision_language.mapping import is_clip
    from cmid.evaluation.image_text import embed_texts
    from cmid.vision_language.clip.storage import load_clip

    if not is_clip(job["model"]):
        raise ValueError(f"--text needs maps of a CLIP, {job['model']} is none: give --image")
    clip = load_clip(job["model"]).to(device)
    _check_digest(clip.digest, job)
    return embed_texts(clip, [text])[0].cpu().numpy()


def _model(
    scene: Scene, window: Window, job: Mapping[str, Any], device: str
) -> tuple[DenseModel, int]:
    """The model that made the maps, which checks that it can read the scene; side of its tiles."""
    from benchmarks.commands.map import MapConfig
    from benchmarks.commands.map_models import open_model

    config = MapConfig(job["model"], (scene.name,), out="", tile=job["tile"])
    model, size, _ = open_model(config, scene, window, device)
    _check_digest(model.digest, job)
    return model, size


def _check_digest(digest: str, job: Mapping[str, Any]) -> None:
    if digest != job["digest"]:
        raise ValueError(
            f"{job['model']} is not the model that made the maps any more: make them anew, or put"
            " it back"
        )


def _classify(config: ClassifyConfig) -> None:
    from cmid.inference.clicks import fit_clicks
    from cmid.inference.embedding_maps import EmbeddingMap
    from cmid.inference.index import SearchIndex
    from cmid.inference.products import Classes, Probabilities
    from cmid.inference.writing import write_maps

    indexed = [p for s in config.source if Path(s).is_dir() for p in SearchIndex(s).about["maps"]]
    plain = [source for source in config.source if not Path(source).is_dir()]
    maps = [EmbeddingMap(path) for path in [*(each["path"] for each in indexed), *plain]]
    clicks = {"other": config.negatives, config.name: config.positives}
    classifier, counts = fit_clicks(maps, clicks)
    for name, (used, lost) in counts.items():
        print(f"{name}: {used} points, {lost} without an embedding left out")
    names = tuple(clicks)
    for number, each in enumerate(maps):
        out = Path(config.out) if len(maps) == 1 else Path(config.out) / str(number)
        for path in write_maps(
            out,
            [Classes(names, ((190, 190, 190), (220, 40, 40))), Probabilities(names)],
            partial(classifier.pieces, each),
            count=len(each.tops),
            area=each.area,
            job={"embeddings": each.path, **vars(config), "source": [*config.source]},
        ):
            print(f"map: {path}")
