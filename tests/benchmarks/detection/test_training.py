from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")

from benchmarks.detection.scenes import write_oriented_scenes, write_scenes

FAMILIES = {
    "configs/detection/faster_rcnn_resnet18_scenes.py": (write_scenes, "coco/bbox_mAP"),
    "configs/detection/retinanet_resnet18_scenes.py": (write_scenes, "coco/bbox_mAP"),
    "configs/oriented_detection/oriented_rcnn_resnet18_scenes.py": (
        write_oriented_scenes,
        "dota/mAP",
    ),
}


def command(root: Path, name: str) -> Callable[[list[str]], None]:
    """The main function of a tool; a process of its own would import OpenMMLab again."""
    spec = spec_from_file_location(f"tools_{name}", root / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.mark.slow
@pytest.mark.parametrize("config", FAMILIES, ids=lambda path: Path(path).stem)
def test_training_resuming_and_testing(
    config: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    write, metric = FAMILIES[config]
    write(tmp_path / "scenes", train=4, val=3, size=64, seed=0)
    work = tmp_path / "work"
    options = ["train_dataloader.batch_size=2", "default_hooks.logger.interval=1"]
    options += ["train_cfg.val_interval=1", "model.backbone.norm_eval=True"]
    for loader in ("train", "val", "test"):
        options += [f"{loader}_dataloader.dataset.data_root={tmp_path / 'scenes'}"]
        options += [f"{loader}_dataloader.num_workers=0"]
        options += [f"{loader}_dataloader.persistent_workers=False"]
    common = ["--backbone", "random:resnet18", "--work_dir", str(work), "--cfg_options", *options]
    train, test = command(root, "train"), command(root, "test")
    train([config, *common, "train_cfg.max_epochs=1"])
    assert (work / "epoch_1.pth").is_file()
    train([config, "--resume", *common, "train_cfg.max_epochs=2"])
    logs = sorted(work.glob("*/vis_data/scalars.json"))
    lines = [json.loads(line) for line in logs[-1].read_text().splitlines()]
    assert {line["epoch"] for line in lines if "loss" in line} == {2}

    # Untrained scores are below what is kept and drawn otherwise.
    shown = ["default_hooks.visualization.score_thr=0.0"]
    head = "model.test_cfg" if "retinanet" in config else "model.test_cfg.rcnn"
    shown += [f"{head}.score_thr=0.0", f"{head}.max_per_img=5"]
    pictures = tmp_path / "pictures"
    checkpoint = str(work / "epoch_2.pth")
    tta = ["--tta"] if "oriented" not in config else []
    test([config, checkpoint, "--show_dir", str(pictures), *tta, *common, *shown])
    (result,) = work.glob("*/[0-9]*_[0-9]*.json")
    assert metric in json.loads(result.read_text())
    for index in range(4, 7):
        picture = np.array(Image.open(pictures / f"scene_{index:05}.png"))
        assert picture.shape == (1024, 2048, 3)
        truth, found = picture[:, :1024].astype(int), picture[:, 1024:].astype(int)
        assert (np.abs(truth - found).max(axis=2) > 100).mean() > 0.002  # boxes, other ones


def test_what_is_missing_is_named(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    config = "configs/detection/faster_rcnn_resnet18_scenes.py"
    options = [f"train_dataloader.dataset.data_root={tmp_path}"]
    options += ["model.backbone.name=random:resnet18"]
    with pytest.raises(SystemExit, match=r"error: no annotations .*train.json"):
        command(root, "train")([config, "--work_dir", str(tmp_path), "--cfg_options", *options])
