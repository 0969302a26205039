"""Maps of a segmentation model are what it says of the whole scene."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")
pytest.importorskip("rasterio", reason="extra geo is not installed")

import rasterio
from mmengine.config import Config
from mmengine.logging import HistoryBuffer

from benchmarks.commands.map import MapConfig
from benchmarks.commands.map_models import open_model
from benchmarks.openmmlab.experiment import build_runner, load_config
from benchmarks.segmentation.mapping import SegmentationModel
from cmid.data.scenes import SEMANTIC_CLASSES
from cmid.data.windows import Window
from cmid.inference.scenes import Scene
from cmid.inference.streaming import map_scene
from cmid.inference.tiled import TiledScene
from cmid.inference.tiles import TileGrid
from tests.integration import in_process

CONFIG = "configs/segmentation/upernet_resnet18_scenes.py"
SIDE = 96


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path]:
    """A small configuration, and the checkpoint of untrained weights."""
    folder = tmp_path_factory.mktemp("trained")
    options = {"model.decode_head.channels": 16, "model.auxiliary_head.channels": 16}
    config = load_config(
        CONFIG, backbone="random:test_resnet", options=options, work_dir=str(folder)
    )
    runner = build_runner(config)
    meta = {"classes": SEMANTIC_CLASSES, "palette": [[n, 2 * n, 255 - n] for n in range(11)]}
    state = {"meta": {"dataset_meta": meta}, "state_dict": runner.model.state_dict()}
    state["message_hub"] = {"log_scalars": {"loss": HistoryBuffer([0.5], [1])}}  # as mmengine does
    torch.save(state, folder / "iter_1.pth")
    config.dump(folder / "config.py")
    return config, folder


def test_one_tile_is_what_the_model_predicts(trained, scene):
    config, folder = trained
    model = SegmentationModel(config, folder / "iter_1.pth", "cpu")
    assert model.classes == tuple(SEMANTIC_CLASSES)
    grid = TileGrid(height=96, width=96, size=96, halo=0, overlap=0, stride=model.stride)
    (piece,) = map_scene(model, TiledScene(Scene(scene), Window(0, 0, 96, 96), grid))
    with rasterio.open(scene) as file:
        # As OpenMMLab's loader hands it over: blue first, which its preprocessor turns round.
        pixels = torch.from_numpy(file.read()).flip(0)
    model.model.data_preprocessor.size = (96, 96)
    data = model.model.data_preprocessor({"inputs": [pixels], "data_samples": None})
    with torch.no_grad():
        wanted = model.model.encode_decode(data["inputs"], [{"img_shape": (96, 96)}])[0]
    assert np.allclose(piece.values, wanted.numpy(), atol=1e-5)


def test_tiles_have_the_size_of_the_training_by_default(trained, scene, tmp_path):
    config, folder = trained
    asked = MapConfig(
        str(folder / "config.py"), (str(scene),), out=tmp_path,
        checkpoint=str(folder / "iter_1.pth"), backbone="random:test_resnet",
    )  # fmt: skip
    sizes = [
        open_model(each, Scene(scene), Window(0, 0, 96, 96), "cpu")[1]
        for each in (asked, replace(asked, tile=64))
    ]
    assert sizes == [min(config.model.data_preprocessor.size) // 32 * 32, 64]
    assert sizes[0] != 512


def test_the_command_writes_classes_with_names_and_colours(trained, scene, tmp_path):
    folder = trained[1]
    outcome = in_process.run(
        "tools/map.py", folder / "config.py", scene, "--checkpoint", folder / "iter_1.pth",
        "--backbone", "random:test_resnet", "--out", tmp_path / "maps", "--tile", "64",
        "--halo", "0", "--overlap", "32", "--probabilities",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    with (
        rasterio.open(tmp_path / "maps/classes.tif") as classes,
        rasterio.open(tmp_path / "maps/probabilities.tif") as probabilities,
        rasterio.open(scene) as source,
    ):
        assert (classes.transform, classes.crs) == (source.transform, source.crs)
        assert classes.colormap(1)[3] == (3, 6, 252, 255)
        assert classes.tags(1)["class_1"] == SEMANTIC_CLASSES[1]
        shares = probabilities.read()
        assert shares.shape == (11, 96, 96)
        best = np.take_along_axis(shares, classes.read(), axis=0)
        assert (best == shares.max(axis=0)).all()


def test_a_checkpoint_without_class_names_is_refused(trained, tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "bare.pth")
    with pytest.raises(ValueError, match=r"bare.pth does not tell its classes"):
        SegmentationModel(trained[0], tmp_path / "bare.pth", "cpu")
