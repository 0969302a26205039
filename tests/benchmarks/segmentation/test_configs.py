from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image

pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")

from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS, MODELS

from benchmarks.openmmlab.experiment import build_runner, load_config
from benchmarks.segmentation.scenes import write_scenes
from cmid.data.scenes import SEMANTIC_CLASSES
from cmid.data.writing import write_image

CONFIGS = sorted((Path(__file__).parents[3] / "configs/segmentation").glob("*.py"))
SCENES = "configs/segmentation/upernet_resnet18_scenes.py"


def write_files(dataset: Any, root: Path, *, bands: int) -> None:
    """Two images with masks as a configuration's dataset expects them."""
    suffix = {"CheckediSAID": "_instance_color_RGB.png"}.get(dataset.type, ".png")
    first = int(dataset.type in ("CheckedISPRS", "CheckedPotsdam", "CheckedLoveDA"))
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        pixels = random.integers(0, 256, (80, 96, bands), dtype=np.uint8)
        ending = ".png" if bands == 3 else ".tif"
        write_image(root / dataset.data_prefix.img_path / f"{name}{ending}", pixels)
        labels = random.integers(first, first + 2, (80, 96), dtype=np.uint8)
        labels[:8] = 0 if first else 255
        write_image(root / dataset.data_prefix.seg_map_path / f"{name}{suffix}", labels)


def shrink(config: Config) -> None:
    """Crops of 64 pixels, narrow heads."""
    for step in config.train_dataloader.dataset.pipeline:
        if "crop_size" in step:
            step.crop_size = (64, 64)
        if step.type == "RandomResize":
            step.scale = (64, 64)
    config.model.data_preprocessor.size = (64, 64)
    config.model.decode_head.channels = 16
    config.model.auxiliary_head.channels = 16


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_builds_and_takes_a_step(path: Path, tmp_path: Path) -> None:
    config = load_config(path, backbone="random:test_resnet")
    shrink(config)
    dataset = config.train_dataloader.dataset
    bands = config.model.backbone.get("in_channels", 3)
    dataset.data_root = str(tmp_path)
    dataset.pop("indices", None)
    write_files(dataset, tmp_path, bands=bands)
    init_default_scope("mmseg")
    data = DATASETS.build(dataset)
    batch = pseudo_collate([data[0], data[1]])
    assert {tuple(image.shape[:1]) for image in batch["inputs"]} == {(bands,)}
    labels = torch.cat([s.gt_sem_seg.data.flatten() for s in batch["data_samples"]])
    assert set(labels.tolist()) == {0, 1, 255}
    assert len(data.metainfo["classes"]) == config.model.decode_head.num_classes
    model = MODELS.build(config.model).train()
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    before = {name: value.clone() for name, value in model.named_parameters()}
    losses = model.train_step(batch, wrapper)
    assert all(torch.isfinite(value).all() for value in losses.values())
    assert {"loss", "decode.loss_ce", "aux.loss_ce"} <= set(losses)
    moved = {n for n, value in model.named_parameters() if not torch.equal(value, before[n])}
    # In timm's residual blocks the first step moves nothing but the last, zero-initialised, scale.
    assert {name for name in before if "_head." in name} <= moved
    assert "backbone.network.conv1.0.weight" in moved
    for part in (config.model.decode_head, config.model.auxiliary_head):
        assert part.num_classes == len(data.metainfo["classes"])
    assert config.model.auxiliary_head.loss_decode.loss_weight == 0.4


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "swin_base", "vit_base"])
def test_heads_have_the_width_of_their_own_backbone(root: Path, name: str) -> None:
    config = Config.fromfile(root / f"configs/segmentation/_base_/models/upernet_{name}.py")
    with torch.device("meta"):
        network = timm.create_model(config.model.backbone.name.removeprefix("random:"))
    widths = [stage["num_chs"] for stage in network.feature_info]
    if name == "vit_base":
        widths = widths[2::3]
    assert config.model.decode_head.in_channels == widths[-4:]
    assert config.model.auxiliary_head.in_channels == widths[-2]


def test_the_scenes_configuration_names_the_classes_of_scenes(root: Path) -> None:
    config = Config.fromfile(root / SCENES)
    assert config.train_dataloader.dataset.metainfo.classes == SEMANTIC_CLASSES
    assert len(config.train_dataloader.dataset.metainfo.palette) == len(SEMANTIC_CLASSES)


def tool(root: Path, name: str) -> Any:
    """A command's main, in this process: importing mmsegmentation again takes the most time."""
    return runpy.run_path(str(root / "tools" / f"{name}.py"))["main"]


def reduced(data: Path) -> list[str]:
    options = ["default_hooks.logger.interval=1", "train_dataloader.batch_size=2"]
    options += ["model.data_preprocessor.size=(32,32)", "model.decode_head.channels=8"]
    for loader in ("train", "val", "test"):
        options += [f"{loader}_dataloader.dataset.data_root={data}"]
        options += [f"{loader}_dataloader.num_workers=0"]
        options += [f"{loader}_dataloader.persistent_workers=False"]
    return options


@pytest.mark.slow
@pytest.mark.parametrize("bands", [3, 4])
def test_training_resuming_and_testing(
    root: Path, tmp_path: Path, bands: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    write_scenes(tmp_path / "data", train=4, val=2, size=64, seed=0, bands=bands)
    config = SCENES if bands == 3 else SCENES.replace(".py", f"_{bands}band.py")
    work = tmp_path / "work"
    common = ["--backbone", "random:test_resnet", "--work_dir", str(work)]
    options = ["--cfg_options", *reduced(tmp_path / "data")]
    tool(root, "train")([config, *common, *options, "train_cfg.max_epochs=2"])
    tool(root, "train")([config, "--resume", *common, *options, "train_cfg.max_epochs=3"])
    logs = sorted(work.glob("*/vis_data/scalars.json"))
    assert len(logs) == 2
    lines = [json.loads(line) for line in logs[-1].read_text().splitlines()]
    assert [line["epoch"] for line in lines if "loss" in line] == [3, 3]
    assert any({"mIoU", "mFscore"} <= set(line) for line in lines)
    drawn = ["default_hooks.visualization.draw=True"]
    drawn += ["default_hooks.visualization.test_out_dir=pictures"]
    tool(root, "test")([config, str(work / "epoch_3.pth"), *common, *options, *drawn])
    pictures = sorted((work / "pictures").iterdir())
    assert [path.name for path in pictures] == ["scene_00004.png", "scene_00005.png"]


def test_flips_and_scales_at_test_time(root: Path, tmp_path: Path) -> None:
    write_scenes(tmp_path / "data", train=1, val=1, size=64, seed=0)
    config = load_config(
        root / SCENES, backbone="random:test_resnet", work_dir=str(tmp_path / "work")
    )
    config.test_dataloader.update(num_workers=0, persistent_workers=False)
    config.test_dataloader.dataset.update(
        data_root=str(tmp_path / "data"), pipeline=config.tta_pipeline
    )
    config.model = {**config.tta_model, "module": config.model}
    config.default_hooks.visualization.draw = True
    for key in ("train_dataloader", "val_dataloader", "optim_wrapper", "param_scheduler"):
        config.pop(key)
    for key in ("train_cfg", "val_cfg", "val_evaluator"):
        config.pop(key)
    metrics = build_runner(config).test()
    assert 0 <= metrics["mIoU"] <= 100
    with Image.open(tmp_path / "work/pictures/scene_00001.png") as picture:
        assert picture.size[0] > 3 * 320
