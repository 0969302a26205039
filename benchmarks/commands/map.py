"""Map whole scenes: embeddings of a backbone, or classes of a segmentation model.

python tools/map.py runs/NAME/backbone SCENE.tif --out maps
python tools/map.py CONFIG.py SCENE.tif --checkpoint work_dirs/NAME/iter_N.pth --out maps

Writes cloud-optimised GeoTIFFs in the scene's reference system: embeddings.tif, one cell for the
backbone's stride; or classes.tif with colours and names, and probabilities.tif if asked for.
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
    from cmid.inference.products import Product
    from cmid.inference.scenes import Scene


@dataclass(frozen=True)
class MapConfig:
    """A model, scenes, and what to write.

    Attributes:
        model: backbone (exported folder, checkpoint, random:NAME or timm name), or a configuration
            of OpenMMLab (.py).
        scenes: rasters, folders or patterns in quotes.
        out: folder of the maps.
        checkpoint: .pth of the configuration.
        backbone: what tools/train.py was given as --backbone.
        probabilities: write the probability of each class, too.
        form: how embeddings are stored; int8 has a scale for each dimension.
        tile: side of the tiles in pixels, a multiple of the model's stride (default: what a
            transformer was trained with, else 512).
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
    checkpoint: str | None = None
    backbone: str | None = None
    probabilities: bool = False
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


@command(MapConfig, memory="--batch_size or --tile")
def main(config: MapConfig) -> None:
    """Map the scenes."""
    import torch

    from cmid.inference.scenes import Scene
    from cmid.inference.streaming import map_scene
    from cmid.inference.tiles import TileGrid
    from cmid.inference.writing import write_maps

    device = config.device or ("cuda" if torch.cuda.is_available() else "cpu")
    scene = Scene(config.scenes, bands=config.bands, sensor=config.sensor, nodata=config.nodata)
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
        "digest": getattr(model, "digest", None),
    }
    paths = write_maps(
        Path(config.out),
        products,
        lambda first: map_scene(
            model,
            scene,
            grid,
            window=window,
            batch_size=config.batch_size,
            turns=config.tta,
            first=first,
        ),
        count=len(grid.tops),
        area=scene.area.part(window, model.cell),
        job=job,
        resume=config.resume,
    )
    for path in paths:
        print(f"map: {path}")


def _window(scene: Scene, config: MapConfig) -> Window:
    from cmid.data.windows import Window

    if config.bounds:
        return scene.area.window(config.bounds)
    left, top, width, height = config.window or (0, 0, scene.area.width, scene.area.height)
    return scene.area.clip(Window(top, left, height, width))


def open_model(
    config: MapConfig, scene: Scene, window: Window, device: str
) -> tuple[Any, int, list[Product]]:
    """The model, the side of its tiles, and what is written."""
    import torch

    from cmid.inference.products import Classes, Embeddings, Probabilities, SmallEmbeddings

    if config.checkpoint is not None:
        from benchmarks.openmmlab.experiment import load_config
        from benchmarks.segmentation.mapping import SegmentationModel

        settings = load_config(config.model, backbone=config.backbone)
        model = SegmentationModel(settings, Path(config.checkpoint), device)
        _check_bands(scene, len(model.fill), config.model)
        products: list[Product] = [Classes(model.classes, model.colours)]
        products += [Probabilities(model.classes)] * config.probabilities
        return model, config.tile or 512, products

    from cmid.checkpoints import load_backbone
    from cmid.data.source import Image
    from cmid.inference.embeddings import EmbeddingModel, feature_scales
    from cmid.models.intermediates import is_plain

    backbone = load_backbone(config.model, img_size=config.tile, in_chans=len(scene.bands)).to(
        device
    )
    embedder = EmbeddingModel(backbone)
    _check_bands(scene, len(embedder.fill), config.model)
    values, _ = scene.read(window._replace(height=1, width=1))
    backbone.standardize.statistics.check(
        Image(torch.from_numpy(values), (1, 1), name=scene.name, kind=scene.kind)
    )
    size = config.tile or (backbone.size if is_plain(backbone.encoder.backbone) else 512)
    names = tuple(f"feature {n}" for n in range(embedder.channels))
    if config.form == "float16":
        return embedder, size, [Embeddings(names)]
    scales = feature_scales(embedder, scene, window=window, size=size)
    return embedder, size, [SmallEmbeddings(names, scales)]


def _check_bands(scene: Scene, wanted: int, model: str) -> None:
    if len(scene.bands) != wanted:
        raise ValueError(
            f"{scene.name} has {len(scene.bands)} bands, {model} reads {wanted}: choose them with"
            " --bands"
        )
