from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")
pytest.importorskip("rasterio", reason="extra geo is not installed")

from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, FUNCTIONS, MODELS, init_default_scope

import benchmarks.detection  # noqa: F401
from benchmarks.detection.preprocessing import BandDetDataPreprocessor
from benchmarks.detection.scenes import DOTA_CATEGORIES, write_oriented_scenes, write_scenes
from benchmarks.openmmlab.experiment import load_config
from cmid.data.scenes import INSTANCE_CATEGORIES

ROOT = Path(__file__).parents[3]
CONFIGS = sorted(
    path
    for folder in ("detection", "oriented_detection")
    for path in (ROOT / "configs" / folder).glob("*.py")
)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder / "coco", train=12, val=2, size=64, seed=0)
    write_oriented_scenes(folder / "dota", train=12, val=2, size=64, seed=0)
    write_scenes(folder / "coco_4band", train=12, val=2, size=64, seed=0, bands=4)
    write_oriented_scenes(folder / "dota_4band", train=12, val=2, size=64, seed=0, bands=4)
    return folder


def use_scenes(dataset: Config, scenes: Path) -> None:
    """Let a configuration's dataset read generated scenes, at their size."""
    if "datasets" in dataset:
        for part in dataset.datasets:
            use_scenes(part, scenes)
        return
    form = "_4band" if dataset.data_root.endswith("_4band") else ""
    if dataset.type == "CheckedCocoDataset":
        dataset.update(data_root=str(scenes / f"coco{form}"), ann_file="train.json")
        dataset.update(data_prefix={"img": "train"}, metainfo={"classes": INSTANCE_CATEGORIES})
    else:
        dataset.update(data_root=str(scenes / f"dota{form}"), ann_file="train/labelTxt")
        dataset.update(data_prefix={"img_path": "train/images"})
        dataset.metainfo = {"classes": DOTA_CATEGORIES}
    for step in dataset.pipeline:
        if step.type == "Resize":
            step.pop("scale_factor", None)
            step.scale = (64, 64)


def small(config: Config) -> Config:
    """Fewer proposals, which random weights give by the thousand."""
    if "rcnn" in config.model.train_cfg:
        config.model.train_cfg.rcnn.sampler.num = 16
        config.model.train_cfg.rpn_proposal.update(nms_pre=50, max_per_img=50)
    return config.model


def batch_of(config: Config, scenes: Path, *, with_objects: bool) -> Any:
    """Two training samples of scenes that have objects, or have none; all are there."""
    use_scenes(config.train_dataloader.dataset, scenes)
    data = DATASETS.build(config.train_dataloader.dataset)
    samples = [data[index] for index in range(len(data))]
    assert len(samples) % 12 == 0
    wanted = [s for s in samples if bool(len(s["data_samples"].gt_instances)) == with_objects]
    return FUNCTIONS.get("pseudo_collate")(wanted[:2])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_takes_a_training_step(path: Path, scenes: Path) -> None:
    config = load_config(path, backbone="random:resnet18")
    init_default_scope(config.default_scope)
    model = MODELS.build(small(config))
    assert list(config.model.neck.in_channels) == [64, 128, 256, 512]
    optimizer = build_optim_wrapper(model, config.optim_wrapper)
    batch = batch_of(config, scenes, with_objects=True)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    losses = model.train_step(batch, optimizer)
    assert torch.isfinite(losses["loss"])
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    for part in ("backbone.network.layer4", "neck", "head"):
        assert any(part in name for name in moved), part


@pytest.mark.parametrize(
    "name",
    [
        "detection/faster_rcnn_resnet18_scenes.py",
        "detection/retinanet_resnet18_scenes.py",
        "oriented_detection/oriented_rcnn_resnet18_scenes.py",
        "oriented_detection/oriented_rcnn_resnet50_nwpu_vhr10.py",
    ],
)
def test_images_without_objects_are_kept_and_train(name: str, scenes: Path) -> None:
    config = load_config(ROOT / "configs" / name, backbone="random:resnet18")
    init_default_scope(config.default_scope)
    model = MODELS.build(small(config))
    optimizer = build_optim_wrapper(model, config.optim_wrapper)
    losses = model.train_step(batch_of(config, scenes, with_objects=False), optimizer)
    assert torch.isfinite(losses["loss"])
    assert losses["loss"] > 0


def test_any_number_of_bands_is_standardised() -> None:
    preprocessor = BandDetDataPreprocessor([1, 2, 3, 4], [1, 1, 1, 2], pad_size_divisor=4)
    image = torch.arange(4).add(1).view(4, 1, 1).expand(4, 2, 2) * 3
    batch = preprocessor({"inputs": [image], "data_samples": None})
    assert batch["inputs"].shape == (1, 4, 4, 4)
    assert batch["inputs"][0, :, 0, 0].tolist() == [2, 4, 6, 4]
    with pytest.raises(ValueError, match=r"images have 3 bands, data_preprocessor\.mean 4"):
        preprocessor({"inputs": [image[:3]], "data_samples": None})
