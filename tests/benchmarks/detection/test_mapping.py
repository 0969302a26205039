"""Objects of whole scenes are those that a detector finds in its tiles, each once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")
pytest.importorskip("rasterio", reason="extra geo is not installed")

import rasterio
from mmcv.ops import nms_rotated
from mmdet.structures import DetDataSample

from benchmarks.detection.mapping import DetectionModel
from benchmarks.detection.merging import remaining
from benchmarks.openmmlab.experiment import build_runner, load_config
from tests.integration import in_process

gpd = pytest.importorskip("geopandas")
CONFIGS = {
    "horizontal": "configs/detection/retinanet_resnet18_scenes.py",
    "two_stages": "configs/detection/faster_rcnn_resnet18_scenes.py",
    "oriented": "configs/oriented_detection/oriented_rcnn_resnet18_scenes.py",
}
CLASSES = ("building", "ship", "plane", "storage tank", "vehicle")
SIDE = 160


@pytest.fixture(params=CONFIGS)
def trained(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """Kind of detector, and a folder with its configuration and untrained weights."""
    config = load_config(
        CONFIGS[request.param],
        backbone="random:test_resnet",
        options={"model.test_cfg.rpn.max_per_img": 30} if request.param != "horizontal" else None,
        work_dir=str(tmp_path),
    )
    runner = build_runner(config)
    state = {
        "meta": {"dataset_meta": {"classes": CLASSES}},
        "state_dict": runner.model.state_dict(),
    }
    torch.save(state, tmp_path / "epoch_1.pth")
    config.dump(tmp_path / "config.py")
    return request.param, tmp_path


def test_boxes_are_those_of_the_model_and_lie_where_the_scene_lies(trained, scene, tmp_path):
    kind, folder = trained
    config = load_config(folder / "config.py", backbone="random:test_resnet")
    model = DetectionModel(config, folder / "epoch_1.pth", "cpu", score_threshold=0.001)
    assert model.classes == CLASSES
    with rasterio.open(scene) as file:
        pixels = torch.from_numpy(file.read()[:, :96, :96])
    (found,) = model(pixels[None])
    # As OpenMMLab's loader hands it over: blue first, which its preprocessor turns round.
    sample = DetDataSample(metainfo={"img_shape": (96, 96), "scale_factor": (1.0, 1.0)})
    data = {"inputs": [pixels.flip(0)], "data_samples": [sample]}
    with torch.no_grad():
        wanted = model.model.test_step(data)[0].pred_instances
    assert len(found.scores) == len(wanted.scores) > 0
    assert np.allclose(found.scores, wanted.scores.numpy(), atol=1e-5)
    assert found.boxes[:, 4].any() == (kind == "oriented")

    threshold = str(np.quantile(found.scores, 0.5))
    outcome = in_process.run(
        "tools/map.py", folder / "config.py", scene, "--checkpoint", folder / "epoch_1.pth",
        "--backbone", "random:test_resnet", "--out", tmp_path / "maps", "--tile", "96",
        "--score_threshold", threshold,
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    boxes = gpd.read_parquet(tmp_path / "maps/boxes.parquet")
    assert len(boxes) == len(gpd.read_file(tmp_path / "maps/boxes.gpkg")) > 0
    assert boxes.crs == "EPSG:32633"
    assert boxes["score"].min() >= float(threshold) - 1e-6
    assert boxes.geometry.centroid.within(gpd.GeoSeries.from_wkt([EXTENT], crs=boxes.crs)[0]).all()
    assert set(boxes["class"]) <= set(CLASSES)


EXTENT = (
    "POLYGON ((500000 5000000, 500080 5000000, 500080 4999920, 500000 4999920, 500000 5000000))"
)


def test_suppression_in_groups_is_that_of_all_boxes():
    generator = np.random.default_rng(0)
    count = 400
    boxes = np.column_stack(
        [
            generator.uniform(0, 300, (count, 2)) + 1_000_000,
            generator.uniform(5, 40, (count, 2)),
            generator.uniform(-1.5, 1.5, count),
        ]
    )
    scores, labels = generator.uniform(size=count), generator.integers(0, 3, count)
    found = remaining(boxes, scores, labels, iou_threshold=0.2)
    wanted = []
    for label in range(3):
        members = np.flatnonzero(labels == label)
        near = torch.from_numpy(boxes[members] - [1_000_000, 1_000_000, 0, 0, 0]).float()
        _, kept = nms_rotated(near, torch.from_numpy(scores[members]).float(), 0.2)
        wanted += members[kept.numpy()].tolist()
    assert found.tolist() == wanted
    assert 50 < len(found) < count
    assert len(remaining(boxes[:0], scores[:0], labels[:0], iou_threshold=0.2)) == 0
