from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")

from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS, MODELS

from benchmarks.change_detection.scenes import write_scenes
from benchmarks.openmmlab.experiment import load_config
from tests.integration.in_process import run

CONFIGS = sorted((Path(__file__).parents[3] / "configs/change_detection").glob("*.py"))
SCENES = "configs/change_detection/bit_resnet18_scenes.py"
SIZE = 64


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated pairs, also of four bands; one in the form of Taizhou: files in ``marked``."""
    folder = tmp_path_factory.mktemp("change")
    write_scenes(folder / "scenes", train=4, val=1, size=SIZE, seed=0)
    write_scenes(folder / "scenes4", train=2, val=1, size=SIZE, seed=0, bands=4)
    (folder / "marked").mkdir()
    rasterio = pytest.importorskip("rasterio")
    rng = np.random.default_rng(0)
    form = {"driver": "ENVI", "count": 6, "height": 400, "width": 400, "dtype": "uint8"}
    for name in ("2000TM", "2003TM"):
        with rasterio.open(folder / "marked" / name, "w", **form) as file:
            file.write(rng.integers(0, 255, (6, 400, 400), dtype=np.uint8))
    changed = rng.random((400, 400)) < 0.3
    for name, mask in (("change", changed), ("unchanged", ~changed)):
        PillowImage.fromarray(mask.astype(np.uint8) * 255).save(folder / f"marked/{name}.bmp")
    return folder


def datasets(part: Any) -> Iterator[Any]:
    """Those that read files, below wrappers."""
    if part.get("type") in ("ChangePairs", "MarkedPair"):
        yield part
    for below in part.get("datasets", [part["dataset"]] if "dataset" in part else []):
        yield from datasets(below)


def on_generated_files(path: Path, data: Path) -> Config:
    family = "swin_tiny_patch4_window7_224" if "swin" in path.stem else "resnet18"
    config = load_config(path, backbone=f"random:{family}")
    config.model.data_preprocessor.size = (SIZE, SIZE)
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        for dataset in datasets(loader.dataset):
            if dataset.type == "MarkedPair":
                dataset.data_root = str(data / "marked")
            else:
                part = "train" if loader is config.train_dataloader else "val"
                root = data / ("scenes4" if "geotiff" in path.stem else "scenes") / part
                dataset.update(data_root=str(root), folders=["A", "B", "label"])
    return config


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_builds_learns_and_predicts(path: Path, data: Path) -> None:
    config = on_generated_files(path, data)
    init_default_scope("mmseg")
    model = MODELS.build(config.model)
    train = DATASETS.build(config.train_dataloader.dataset)
    batch = pseudo_collate([train[index] for index in range(2)])
    losses = model(**model.data_preprocessor(batch, training=True), mode="loss")
    loss = sum(value for key, value in losses.items() if "loss" in key)
    loss.backward()
    assert torch.isfinite(loss)
    assert not [name for name, p in model.named_parameters() if p.grad is None]

    model.eval()
    sample = DATASETS.build(config.test_dataloader.dataset)[0]
    (alone,) = model.test_step(pseudo_collate([sample]))
    truth = sample["data_samples"].gt_sem_seg.data
    assert alone.pred_sem_seg.data.shape == truth.shape
    assert {0, 1} <= set(truth.unique().tolist()) <= {0, 1, 255}

    for dataset in datasets(config.test_dataloader.dataset):
        dataset.pipeline = config.tta_pipeline
    augmented = DATASETS.build(config.test_dataloader.dataset)[0]
    tta = MODELS.build({**config.tta_model, "module": model})
    (merged,) = tta.test_step(pseudo_collate([augmented]))
    assert torch.equal(merged.gt_sem_seg.data, truth)
    assert merged.pred_sem_seg.data.shape == truth.shape


def test_augmented_predictions_are_means_over_flips_and_orders(data: Path) -> None:
    config = on_generated_files(Path(SCENES), data)
    init_default_scope("mmseg")
    model = MODELS.build(config.model).eval()
    loader = config.test_dataloader.dataset
    sample = DATASETS.build(loader)[0]
    pair, truth = sample["inputs"].float(), sample["data_samples"]
    loader.pipeline = config.tta_pipeline
    tta = MODELS.build({**config.tta_model, "module": model})
    (merged,) = tta.test_step(pseudo_collate([DATASETS.build(loader)[0]]))
    mean = 0
    with torch.no_grad():
        for flip in ([], [-1], [-2]):
            for order in (pair, pair.roll(3, 0)):
                pairs = {"inputs": [order.flip(flip)], "data_samples": [truth]}
                batch = model.data_preprocessor(pairs)
                logits = model.encode_decode(batch["inputs"], [{"img_shape": (SIZE, SIZE)}])
                mean = mean + logits.softmax(1)[0].flip(flip) / 6
    assert (merged.pred_sem_seg.data == mean.argmax(0)).float().mean() > 0.999


def test_a_backbone_brings_the_statistics_of_one_date() -> None:
    config = load_config(SCENES, backbone="random:resnet18")
    assert len(config.model.data_preprocessor.mean) == 3
    assert config.model.decode_head.in_channels == [64, 128, 256, 512]


@pytest.mark.slow
def test_training_resuming_and_testing(tmp_path: Path, data: Path) -> None:
    reduced = ["default_hooks.logger.interval=1", "train_dataloader.batch_size=2"]
    for loader, part in (("train", "train"), ("val", "val"), ("test", "val")):
        reduced += [f"{loader}_dataloader.dataset.data_root={data / 'scenes' / part}"]
        reduced += [f"{loader}_dataloader.num_workers=0"]
        reduced += [f"{loader}_dataloader.persistent_workers=False"]
    work = tmp_path / "work"
    common = ["--work_dir", str(work), "--cfg_options", *reduced]
    done = run("tools/train.py", SCENES, *common, "train_cfg.max_epochs=1")
    assert done.status == 0, done.err[-3000:]
    done = run("tools/train.py", SCENES, "--resume", *common, "train_cfg.max_epochs=2")
    assert done.status == 0, done.err[-3000:]
    logs = sorted(work.glob("*/vis_data/scalars.json"))
    lines = [json.loads(line) for line in logs[-1].read_text().splitlines()]
    assert [line["iter"] for line in lines if "loss" in line] == [3, 4]
    assert any("change/f1" in line for line in lines)
    shown = ["--show_dir", str(tmp_path / "pictures"), "--tta"]
    done = run("tools/test.py", SCENES, str(work / "epoch_2.pth"), *shown, *common)
    assert done.status == 0, done.err[-3000:]
    assert "change/iou" in done.out + done.err
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["scene_00004.png"]
