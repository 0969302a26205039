"""Map whole scenes: embeddings of a backbone, what a trained model finds, words of a CLIP.

python tools/map.py runs/NAME/backbone SCENE.tif --out maps
python tools/map.py CONFIG.py SCENE.tif --checkpoint work_dirs/NAME/iter_N.pth --out maps
python tools/map.py runs/NAME/clip SCENE.tif --vocabulary water forest "house, building" --out maps

Writes cloud-optimised GeoTIFFs in the scene's reference system: embeddings.tif, one cell for the
backbone's stride; or classes.tif with colours and names, and probabilities.tif if asked for; of a
CLIP similarity.tif, too, or that alone for --phrase.
Detectors write boxes.parquet and boxes.gpkg: a polygon, a class and a score for each object.
Models of change compare the scene with --second. A classifier (a run of tools/finetune.py, or a
configuration) tells the class of each tile.
Several scenes are mapped as one. Memory does not grow with the scene's height.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cmid.command_line import command
from cmid.options import at_least, option

if TYPE_CHECKING:
    from cmid.data.windows import Window
    from cmid.inference.pairs import ScenePair
    from cmid.inference.regions import Limited
    from cmid.inference.scenes import Scene

_NOT_OF_THE_JOB = ("out", "resume", "picture")


@dataclass(frozen=True)
class MapConfig:
    """A model, scenes, and what to write.

    Attributes:
        model: backbone (exported folder, checkpoint, random:NAME or timm name), a configuration of
            OpenMMLab (.py), or a CLIP's folder.
        scenes: rasters, folders or patterns in quotes.
        second: rasters of the second date, for models of change.
        warp: resample the second date to the grid of the first.
        out: folder of the maps.
        checkpoint: .pth of the configuration.
        backbone: what tools/train.py was given as --backbone, or where the backbone lies now that
            tools/finetune.py began with.
        probabilities: write the probability of each class, too.
        score_threshold: the least score of an object.
        polygons: write the connected areas of each class, too, as polygons.parquet and .gpkg.
        simplify: how far their borders may move, in units of the scene's reference system.
        vocabulary: classes for a CLIP: names (synonyms with commas, in quotes), a file with a line
            a class, or a list of tools/evaluate_clip.py such as loveda.
        phrase: texts that a CLIP finds pixels similar to.
        templates: what names are put into: satellite, aerial, plain, imagenet (80 of CLIP), a text
            with {}, or a file.
        vectors: write embeddings as GeoParquet, too, a square for each cell.
        picture: write a small PNG of each raster, too: colours of classes, principal components of
            embeddings.
        form: how embeddings are stored; int8 has a scale for each dimension.
        tile: side of the tiles in pixels, a multiple of the model's stride (default: what a
            transformer, a classifier or a segmentation was trained with, else 512).
        halo: pixels at the borders of tiles that are only context (default: an eighth of a tile).
        overlap: pixels over which tiles fade into each other (default: an eighth of a tile, or
            the model's stride where that is more).
        batch_size: tiles at a time.
        tta: average over flips and quarter turns.
        window: part of the scene in pixels: left, top, width, height.
        bounds: part of the scene in its coordinates: left, bottom, right, top.
        mask: polygons, outside of which nothing is mapped: GeoPackage, GeoJSON, GeoParquet ...
        resolution: side of the pixels in the scene's unit, which scenes of another resolution or
            grid are resampled to.
        stored: take numbers as they are stored, without the scale and offset that files declare.
        bands: bands of the scene, by name or counted from 1.
        sensor: preset of the scene, such as sentinel2_l2a, or a JSON file.
        nodata: overrides the scene's nodata value.
        resume: go on with a map that was interrupted.
        device: where the model runs, such as cpu or cuda (default: a GPU if there is one).
    """

    model: str
    scenes: tuple[str, ...]
    out: str = option()
    second: tuple[str, ...] | None = None
    warp: bool = False
    checkpoint: str | None = None
    backbone: str | None = None
    probabilities: bool = False
    score_threshold: Annotated[float, at_least(0, 1)] = 0.3
    polygons: bool = False
    simplify: Annotated[float, at_least(0)] = 0.0
    vocabulary: tuple[str, ...] | None = None
    phrase: tuple[str, ...] | None = None
    templates: str = "imagenet"
    vectors: bool = False
    picture: bool = False
    form: Literal["float16", "int8"] = "float16"
    tile: Annotated[int, at_least(1)] | None = None
    halo: Annotated[int, at_least(0)] | None = None
    overlap: Annotated[int, at_least(0)] | None = None
    batch_size: Annotated[int, at_least(1)] = 4
    tta: bool = False
    window: tuple[int, int, int, int] | None = None
    bounds: tuple[float, float, float, float] | None = None
    mask: str | None = None
    resolution: Annotated[float, at_least(1e-9)] | None = None
    stored: bool = False
    bands: tuple[int | str, ...] | None = None
    sensor: str | None = None
    nodata: float | None = None
    resume: bool = False
    device: str | None = None

    def __post_init__(self) -> None:
        if self.model.endswith(".py") != (self.checkpoint is not None):
            raise ValueError("a configuration (.py) needs --checkpoint, a backbone has none")
        if self.vocabulary and self.phrase:
            raise ValueError("--vocabulary and --phrase make two maps: give one at a time")
        if self.probabilities and (self.vocabulary or self.phrase):
            raise ValueError("--probabilities are of trained classes: a CLIP tells similarities")
        if self.vectors and (self.checkpoint or self.vocabulary or self.phrase):
            raise ValueError("--vectors are embeddings: of a backbone, or of a CLIP without words")
        if self.window and self.bounds:
            raise ValueError("--window and --bounds both name the part to map: give one")
        for name, needed in (("warp", "second"), ("simplify", "polygons")):
            if getattr(self, name) and not getattr(self, needed):
                raise ValueError(f"--{name} belongs to --{needed}, which is not given")


@command(MapConfig, memory="--batch_size or --tile")
def main(config: MapConfig) -> None:
    """Map the scenes."""
    import torch

    from benchmarks.commands.map_models import open_model
    from cmid.data.raster_paths import on_disk
    from cmid.data.rasters import bound_block_cache
    from cmid.inference.boxes import find_boxes, write_boxes
    from cmid.inference.streaming import map_scene
    from cmid.inference.tiled import TiledScene
    from cmid.inference.tiles import TileGrid
    from cmid.inference.writing import write_maps

    bound_block_cache()
    device = config.device or ("cuda" if torch.cuda.is_available() else "cpu")
    scene, window = _scene(config)
    model, size, products = open_model(config, scene, window, device)
    eighth = size // 8 // model.stride * model.stride
    fading = eighth or (model.stride if size > model.stride else 0)
    grid = TileGrid(
        height=window.height,
        width=window.width,
        size=size,
        halo=eighth if config.halo is None else config.halo,
        overlap=fading if config.overlap is None else config.overlap,
        stride=model.stride,
    )
    given = {name: value for name, value in vars(config).items() if name not in _NOT_OF_THE_JOB}
    job = {
        **{name: list(v) if isinstance(v, tuple) else v for name, v in given.items()},
        "files": [[file.path, on_disk(file.path).stat().st_mtime_ns] for file in scene.files],
        "tiles": [size, grid.halo, grid.overlap],
        "digest": getattr(model, "digest", None),
        "names": [list(product.names) for product in products],
    }
    out = Path(config.out)
    _check_layers(config, out, job)
    tiled = TiledScene(scene, window, grid, config.batch_size)
    whole: dict[str, Any] = {"count": len(grid.tops), "job": job, "resume": config.resume}
    if products:
        paths = write_maps(
            out,
            products,
            lambda first: map_scene(model, tiled, turns=config.tta, first=first),
            area=scene.area.part(window, model.cell),
            then=lambda rasters: _of_rasters(config, rasters),
            **whole,
        )
    else:
        paths = write_boxes(
            out,
            model,
            lambda first: find_boxes(model, tiled, turns=config.tta, first=first),
            area=scene.area.part(window),
            **whole,
        )
    for path in paths:
        print(f"map: {path}")


def _check_layers(config: MapConfig, out: Path, job: Mapping[str, Any]) -> None:
    """Refuse at once what could not be written in the end."""
    from cmid.inference.earlier import refuse_other
    from cmid.inference.vectors import check_vectors

    layers = ["polygons.parquet", "polygons.gpkg"] * config.polygons
    layers += ["embeddings.parquet"] * config.vectors
    if layers:
        check_vectors()
    for name in layers:
        refuse_other(out / name, job)


def _of_rasters(config: MapConfig, rasters: Sequence[Path]) -> list[Path]:
    """Write what is made of the rasters: polygons, vectors, pictures."""
    from cmid.inference.embeddings import write_cells
    from cmid.inference.polygons import write_polygons
    from cmid.visualization.maps import write_picture

    paths = write_polygons(rasters[0], simplify=config.simplify) if config.polygons else []
    paths += write_cells(rasters[0]) if config.vectors else []
    return paths + [write_picture(path) for path in rasters if config.picture]


def _scene(config: MapConfig) -> tuple[Scene | ScenePair | Limited, Window]:
    """The scene, and the part that is mapped."""
    from cmid.data.windows import Window
    from cmid.inference.pairs import ScenePair
    from cmid.inference.regions import Limited, Region
    from cmid.inference.scenes import Scene
    from cmid.inference.warping import WarpedScene

    form: Any = {"bands": config.bands, "sensor": config.sensor, "nodata": config.nodata}
    form |= {"resolution": config.resolution, "physical": not config.stored}
    first = Scene(config.scenes, **form)
    scene: Scene | ScenePair = first
    if config.second:
        second = Scene(config.second, **form)
        scene = ScenePair(first, WarpedScene(second, first.area) if config.warp else second)
    left, top, width, height = config.window or (0, 0, scene.area.width, scene.area.height)
    window = Window(top, left, height, width)
    window = scene.area.window(config.bounds) if config.bounds else scene.area.clip(window)
    if config.mask:
        region = Region(Path(config.mask), scene.area, window)
        return Limited(scene, region), region.window
    return scene, window
