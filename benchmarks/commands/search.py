"""Search embeddings of whole scenes by example.

    python tools/search.py build maps/embeddings.tif --out index
    python tools/search.py query index --point X Y --out hits
    python tools/search.py query index --image crop.tif --out hits

EMBEDDINGS are embeddings.tif that tools/map.py wrote. A query writes a contact sheet (hits.png),
and the cells that it found with their scores (hits.parquet, hits.gpkg). An image is embedded by the
model that made the maps. 'python tools/search.py VERB --help' tells the options of a verb.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
        count: number of hits.
        apart: least distance between hits, in cells.
        context: side of the pictures in pixels (default: three cells, 64 at least).
        device: where an image is embedded, such as cpu or cuda (default: a GPU if there is one).
    """

    index: str
    out: str = option()
    image: str | None = None
    point: tuple[float, float] | None = None
    count: Annotated[int, at_least(1, 1000)] = 11
    apart: Annotated[int, at_least(1, 10)] = 2
    context: Annotated[int, at_least(1)] | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        if (self.image is None) == (self.point is None):
            raise ValueError("give what to search for: either --image or --point")


_VERBS: dict[str, tuple[type, str]] = {
    "build": (BuildConfig, "index maps of embeddings"),
    "query": (QueryConfig, "find cells that look like an image or a place"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and do what its verb says."""
    texts = {verb: text for verb, (_, text) in _VERBS.items()}
    verb, left = choose(texts, arguments, verb="search", description=__doc__)
    config, traceback = parse(
        _VERBS[verb][0], arguments=left, verb=f"search {verb}", description=__doc__
    )
    with error_boundary(traceback=traceback, memory="the number of maps"):
        works: dict[str, Callable[[Any], None]] = {"build": _build, "query": _query}
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
    hits = index.search(query, count=config.count, apart=config.apart)
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
    from cmid.data.windows import Window
    from cmid.inference.embeddings import mean_embedding
    from cmid.inference.hits import open_like

    assert config.image is not None
    scene = open_like(index.about["job"], [config.image])
    window = Window(0, 0, scene.area.height, scene.area.width)
    model, size = _model(scene, window, index.about["job"], config.device)
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


def _model(
    scene: Scene, window: Window, job: Mapping[str, Any], device: str | None
) -> tuple[DenseModel, int]:
    """The model that made the maps, which checks that it can read the scene; side of its tiles."""
    import torch

    from benchmarks.commands.map import MapConfig, open_model

    config = MapConfig(job["model"], (scene.name,), out="", tile=job["tile"])
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    model, size, _ = open_model(config, scene, window, device)
    if model.digest != job["digest"]:
        raise ValueError(
            f"{job['model']} is not the model that made the maps any more: make them anew, or put"
            " it back"
        )
    return model, size
