"""Map whole scenes: embeddings of a backbone, or what a model of OpenMMLab finds there.

python tools/map.py runs/NAME/backbone SCENE.tif --out maps
python tools/map.py CONFIG.py SCENE.tif --checkpoint work_dirs/NAME/iter_N.pth --out maps

Writes cloud-optimised GeoTIFFs in the scene's reference system: embeddings.tif, one cell for the
backbone's stride; or classes.tif with colours and names, and probabilities.tif if asked for.
Detectors write boxes.parquet and boxes.gpkg: a polygon, a class and a score for each object.
Models of change compare the scene with --second. A classifier (a run of tools/finetune.py, or a
configuration) tells the class of each tile.
Several scenes of one grid are mapped as one. Memory does not grow with the scene's height.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cmid.command_line import command
from cmid.options import at_least, option

if TYPE_CHECKING:
    from cmid.data.windows import Window
    from cmid.inference.pairs import ScenePair
    from cmid.inference.scenes import Scene


@dataclass(frozen=True)
class MapConfig:
    """A model, scenes, and what to write.

    Attributes:
        model: backbone (exported folder, checkpoint, random:NAME or timm name), or a configuration
            of OpenMMLab (.py).
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
        form: how embeddings are stored; int8 has a scale for each dimension.
        tile: side of the tiles in pixels, a multiple of the model's stride (default: what a
            transformer or a classifier was trained with, else 512).
        halo: pixels at the borders of tiles that are only context (default: an eighth of a tile).
        overlap: pixels over which tiles fade into each other (default: an eighth of a tile).
        batch_size: tiles at a time.
        tta: average over flips and quarter turns.
        window: part of the scene in pixels: left, top, width, height.
        bounds: part of the scene in its coordinates: left, bottom, right, top.
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
    form: Literal["float16", "int8"] = "float16"
    tile: Annotated[int, at_least(1)] | None = None
    halo: Annotated[int, at_least(0)] | None = None
    overlap: Annotated[int, at_least(0)] | None = None
    batch_size: Annotated[int, at_least(1)] = 4
    tta: bool = False
    window: tuple[int, int, int, int] | None = None
    bounds: tuple[float, float, float, float] | None = None
    bands: tuple[int | str, ...] | None = None
    sensor: str | None = None
    nodata: float | None = None
    resume: bool = False
    device: str | None = None

    def __post_init__(self) -> None:
        if self.model.endswith(".py") != (self.checkpoint is not None):
            raise ValueError("a configuration (.py) needs --checkpoint, a backbone has none")
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
    from cmid.inference.boxes import find_boxes, write_boxes
    from cmid.inference.polygons import write_polygons
    from cmid.inference.streaming import map_scene
    from cmid.inference.tiles import TileGrid
    from cmid.inference.writing import write_maps

    device = config.device or ("cuda" if torch.cuda.is_available() else "cpu")
    scene = _scene(config)
    window = _window(scene, config)
    model, size, products = open_model(config, scene, window, device)
    eighth = size // 8 // model.stride * model.stride
    grid = TileGrid(
        height=window.height,
        width=window.width,
        size=size,
        halo=eighth if config.halo is None else config.halo,
        overlap=eighth if config.overlap is None else config.overlap,
        stride=model.stride,
    )
    given = {name: value for name, value in vars(config).items() if name not in ("out", "resume")}
    job = {
        **{name: list(v) if isinstance(v, tuple) else v for name, v in given.items()},
        "files": [[file.path, Path(file.path).stat().st_mtime_ns] for file in scene.files],
        "tiles": [size, grid.halo, grid.overlap],
    }
    out = Path(config.out)
    tiles = {"window": window, "batch_size": config.batch_size, "turns": config.tta}
    whole: dict[str, Any] = {"count": len(grid.tops), "job": job, "resume": config.resume}
    if products:
        paths = write_maps(
            out,
            products,
            lambda first: map_scene(model, scene, grid, first=first, **tiles),
            area=scene.area.part(window, model.cell),
            then=(lambda rasters: write_polygons(rasters[0], simplify=config.simplify))
            if config.polygons
            else None,
            **whole,
        )
    else:
        paths = write_boxes(
            out,
            model,
            lambda first: find_boxes(model, scene, grid, first=first, **tiles),
            area=scene.area.part(window),
            **whole,
        )
    for path in paths:
        print(f"map: {path}")


def _scene(config: MapConfig) -> Scene | ScenePair:
    from cmid.inference.pairs import ScenePair
    from cmid.inference.scenes import Scene
    from cmid.inference.warping import WarpedScene

    form: Any = {"bands": config.bands, "sensor": config.sensor, "nodata": config.nodata}
    scene = Scene(config.scenes, **form)
    if config.second is None:
        return scene
    second = Scene(config.second, **form)
    return ScenePair(scene, WarpedScene(second, scene.area) if config.warp else second)


def _window(scene: Scene | ScenePair, config: MapConfig) -> Window:
    from cmid.data.windows import Window

    if config.bounds:
        return scene.area.window(config.bounds)
    left, top, width, height = config.window or (0, 0, scene.area.width, scene.area.height)
    return scene.area.clip(Window(top, left, height, width))
