from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")

from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope
from mmengine.runner import CheckpointLoader
from mmpretrain.registry import DATASETS, MODELS

from benchmarks.openmmlab import CMIDBackbone, experiment
from benchmarks.openmmlab.experiment import (
    check_band_order,
    check_classes,
    check_schedule,
    load_config,
    paint,
    use_backbone,
    use_tta,
)
from cmid.export import to_timm
from cmid.models import MaskedEncoder
from tests.integration.in_process import run

SCENES = "configs/classification/mmpretrain_scenes.py"
CONFIGS = sorted((Path(__file__).parents[3] / "configs/classification").glob("mmpretrain_*.py"))
ALL_CONFIGS = [
    path
    for folder in ("segmentation", "detection", "oriented_detection", "change_detection")
    for path in sorted((Path(__file__).parents[3] / "configs" / folder).glob("*.py"))
]


@pytest.fixture
def export(tmp_path: Path) -> str:
    encoder = MaskedEncoder("resnet18", img_size=32)
    statistics = {"mean": (0.2, 0.3, 0.4), "std": (0.1, 0.2, 0.25)}
    return str(to_timm(encoder, tmp_path / "export", statistics=statistics))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_builds_and_learns_from_its_pipeline(path: Path) -> None:
    config = load_config(path, backbone="random:resnet18")
    init_default_scope("mmpretrain")
    dataset = config.train_dataloader.dataset
    dataset.update(root="scenes", num_scenes=20)
    classes = config.model.head.num_classes
    data = DATASETS.build(dataset)
    samples = [data[index] for index in range(2)]
    model = MODELS.build(config.model)
    batch = {
        "inputs": [sample["inputs"] for sample in samples],
        "data_samples": [
            sample["data_samples"].set_gt_label(index % classes)
            for index, sample in enumerate(samples)
        ],
    }
    inputs = model.data_preprocessor(batch, training=True)
    loss = model.loss(inputs["inputs"], inputs["data_samples"])["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    assert model.head.num_classes == config.model.data_preprocessor.num_classes


def test_a_backbone_brings_its_normalisation_and_its_width(root: Path, export: str) -> None:
    config = load_config(root / SCENES, backbone=export)
    assert config.model.backbone.name == export
    assert config.model.head.in_channels == 512
    assert config.model.data_preprocessor.mean == pytest.approx([51, 76.5, 102])
    assert config.model.data_preprocessor.std == pytest.approx([25.5, 51, 63.75])
    config = load_config(
        root / SCENES, backbone=export, options={"model.data_preprocessor.mean": [1, 2, 3]}
    )
    assert config.model.data_preprocessor.mean == [1, 2, 3]


@pytest.mark.parametrize("path", ALL_CONFIGS, ids=lambda path: path.stem)
def test_heads_have_as_many_classes_as_datasets(path: Path) -> None:
    check_classes(load_config(path))


def test_other_numbers_or_orders_of_classes_are_refused(root: Path) -> None:
    path = root / "configs/detection/faster_rcnn_resnet18_scenes.py"
    with pytest.raises(ValueError, match=r"num_classes of .*Head is 4, train_.* has 5 classes"):
        check_classes(load_config(path, options={"model.roi_head.bbox_head.num_classes": 4}))
    classes = load_config(path).train_dataloader.dataset.metainfo.classes
    turned = {"val_dataloader.dataset.metainfo.classes": classes[::-1]}
    with pytest.raises(ValueError, match=r"metainfo\.classes of val_dataloader are .* same order"):
        check_classes(load_config(path, options=turned))


def test_options_that_would_change_nothing_are_refused(root: Path) -> None:
    for key, remedy in (
        ("trian_dataloader.batch_size", r"did you mean train_dataloader\?"),
        ("nothing", "see the configuration's keys"),
        ("train_pipeline", "train_pipeline only helps to write the file, .* edit the file"),
    ):
        with pytest.raises(ValueError, match=f"--cfg_options {key} would change nothing: {remedy}"):
            load_config(root / SCENES, options={key: 1})
    config = load_config(root / SCENES, options={"check_pretrained": False, "custom_hooks": []})
    assert config.check_pretrained is False


def test_misspelt_settings_are_refused(root: Path) -> None:
    path = root / "configs/detection/faster_rcnn_resnet18_scenes.py"
    for key, meant in (
        ("model.test_cfg.rcnn.score_thresh", "model.test_cfg.rcnn.score_thr"),
        ("env_cfg.dist_cfg.backends", "env_cfg.dist_cfg.backend"),
        ("default_hooks.chekpoint.interval", "default_hooks.checkpoint.interval"),
        ("train_dataloader.dataset.data_prefix.imgs", "train_dataloader.dataset.data_prefix.img"),
    ):
        with pytest.raises(ValueError, match=f"--cfg_options {key} .*: did you mean {meant}\\?$"):
            load_config(path, options={key: 1})
    known = {
        "model.test_cfg.rcnn.score_thr": 0.1,
        "model.test_cfg.rcnn.min_bbox_size": 2,
        "optim_wrapper.paramwise_cfg.custom_keys.neck.lr_mult": 2,
        "train_dataloader.dataset.data_prefix.img2": "second",
        "train_dataloader.dataset.pipeline.0.type": "LoadRaster",
    }
    load_config(path, options=known)


def test_datasets_are_checked_against_the_statistics_of_the_backbone(
    root: Path, export: str
) -> None:
    config = load_config(root / SCENES, backbone=export)
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        assert loader.dataset.statistics["mean"] == pytest.approx((0.2, 0.3, 0.4))


def test_bands_of_another_sensor_or_order_than_the_backbones_are_refused(
    root: Path, tmp_path: Path
) -> None:
    path = root / "configs/segmentation/upernet_resnet50_geotiff.py"
    load = "train_dataloader.dataset.pipeline.0"
    options = {f"{load}.sensor": "sentinel2_l2a", "model.backbone.in_channels": 3}
    statistics = {"mean": (0.2,) * 3, "std": (0.1,) * 3, "bands": ("B02", "B03", "B04")}
    statistics["sensor"] = "sentinel2_l2a"
    folder = str(to_timm(MaskedEncoder("resnet18"), tmp_path / "export", statistics=statistics))
    load_config(path, backbone=folder, options={**options, f"{load}.bands": ["B02", "B03", "B04"]})
    with pytest.raises(ValueError, match="bands B04, B03, B02 of sentinel2_l2a"):
        load_config(
            path, backbone=folder, options={**options, f"{load}.bands": ["B04", "B03", "B02"]}
        )
    check_band_order(load_config(path))
    with pytest.raises(ValueError, match="bgr_to_rgb=True would turn the bands of LoadRaster"):
        check_band_order(load_config(path, options={"model.data_preprocessor.bgr_to_rgb": True}))


def test_schedules_that_begin_after_the_training_are_refused(root: Path) -> None:
    path = root / "configs/segmentation/upernet_swin_base_potsdam.py"
    short = {"train_cfg.max_epochs": 1}
    with pytest.raises(ValueError, match=r"CosineAnnealingLR of .* after 1 epochs, .* is 1: train"):
        check_schedule(load_config(path, options=short))
    halves = {"param_scheduler.0.end": 0.5, "param_scheduler.1.begin": 0.5}
    config = load_config(path, options={**short, **halves})
    check_schedule(config)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    built = [
        PARAM_SCHEDULERS.build(
            {**part, "end": part.get("end", 1)},
            default_args={"optimizer": optimizer, "epoch_length": 10},
        )
        for part in config.param_scheduler
    ]
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for scheduler in built:
            scheduler.step()
    assert max(rates) == pytest.approx(1, rel=0.1)
    assert rates[0] < 0.1
    assert rates[-1] < 0.2


def test_a_configuration_is_fitted_without_reading_a_weight(root: Path, export: str) -> None:
    (Path(export) / "model.safetensors").unlink()
    config = load_config(root / SCENES, backbone=export)
    assert config.model.head.in_channels == 512
    with pytest.raises(FileNotFoundError, match=r"it has no model\.safetensors"):
        CMIDBackbone(export)


def test_heads_take_the_maps_that_they_read() -> None:
    config = Config(
        {
            "model": {
                "backbone": {"type": "CMIDBackbone", "name": ""},
                "neck": {"in_channels": [1, 2, 3, 4]},
                "decode_head": {"in_channels": [1, 2], "in_index": [0, 2]},
                "auxiliary_head": [{"in_channels": 9, "in_index": 2}],
                "head": {"in_channels": 9},
            }
        }
    )
    use_backbone(config, "random:resnet18")
    assert config.model.neck.in_channels == [64, 128, 256, 512]
    assert config.model.decode_head.in_channels == [64, 256]
    assert config.model.auxiliary_head[0].in_channels == 256
    assert config.model.head.in_channels == 512
    with pytest.raises(ValueError, match="no CMIDBackbone"):
        use_backbone(Config({"model": {"backbone": {"type": "ResNet"}}}), "random:resnet18")


@pytest.mark.slow
def test_training_resuming_and_testing(
    tmp_path: Path, export: str, recwarn: pytest.WarningsRecorder
) -> None:
    reduced = ["default_hooks.logger.interval=1", "train_dataloader.batch_size=16"]
    for loader in ("train", "val", "test"):
        reduced += [f"{loader}_dataloader.dataset.num_scenes=60"]
        reduced += [f"{loader}_dataloader.num_workers=0"]
        reduced += [f"{loader}_dataloader.persistent_workers=False"]
    work = tmp_path / "work"
    common = ["--backbone", export, "--work_dir", str(work), "--cfg_options", *reduced]
    done = run("tools/train.py", SCENES, *common, "train_cfg.max_epochs=2")
    assert done.status == 0, done.err[-3000:]
    assert (work / "epoch_2.pth").is_file()
    done = run("tools/train.py", SCENES, "--resume", *common, "train_cfg.max_epochs=3")
    assert done.status == 0, done.err[-3000:]
    logs = sorted(work.glob("*/vis_data/scalars.json"))
    lines = [json.loads(line) for line in logs[-1].read_text().splitlines()]
    assert {line["epoch"] for line in lines if "loss" in line} == {3}
    assert any("accuracy/top1" in line for line in lines)
    done = run("tools/test.py", SCENES, str(work / "epoch_3.pth"), *common)
    assert done.status == 0, done.err[-3000:]
    assert "accuracy/top1" in done.out + done.err
    warned = [str(warning.message) for warning in recwarn]
    assert not [text for text in (done.out, done.err, *warned) if "weights_only=False" in text]
    assert (logs[-1].parent / "scalars.csv").is_file()


@pytest.mark.slow
def test_few_labels_take_as_many_steps_and_frozen_backbones_stay(
    tmp_path: Path, export: str
) -> None:
    options = ["train_cfg.max_epochs=1", "train_cfg.val_interval=2", "param_scheduler=[]"]
    options += ["train_dataloader.dataset.num_scenes=50", "train_dataloader.num_workers=0"]
    options += ["train_dataloader.batch_size=8"]
    options += ["train_dataloader.persistent_workers=False"]
    steps = []
    for name, way in (("all", []), ("few", ["--labels", "1", "--frozen"])):
        folder = ["--work_dir", str(tmp_path / name)]
        done = run(
            *("tools/train.py", SCENES, "--backbone", export, *folder, *way),
            *("--cfg_options", *options),
        )
        assert done.status == 0, done.err[-3000:]
        saved = CheckpointLoader.load_checkpoint(str(tmp_path / name / "epoch_1.pth"), "cpu")
        steps.append(saved["message_hub"]["runtime_info"]["iter"])
    assert steps == [4, 4]  # counted from 0
    before = CMIDBackbone(export, out_indices=(3,)).state_dict()
    after = saved["state_dict"]
    assert all(torch.equal(after[f"backbone.{key}"], value) for key, value in before.items())
    assert after["head.fc.weight"].abs().sum() > 0
    done = run("tools/train.py", SCENES, "--labels", "9", "--cfg_options", *options)
    assert "9 labelled training images of each class: a class has only 4" in done.err
    assert "Traceback" not in done.err


def test_missing_files_are_named() -> None:
    done = run("tools/train.py", "nothing.py")
    assert done.status == 1
    assert done.err.strip().endswith("error: no configuration nothing.py")
    done = run("tools/test.py", SCENES, "nothing.pth")
    assert done.err.strip().endswith("error: no checkpoint nothing.pth")


def test_mixed_precision_without_a_gpu_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config({"optim_wrapper": {"type": "OptimWrapper"}})
    monkeypatch.setattr(experiment, "get_device", lambda: "cpu")
    with pytest.raises(ValueError, match="--amp needs a GPU: leave it out"):
        experiment.use_amp(config)
    monkeypatch.setattr(experiment, "get_device", lambda: "cuda")
    experiment.use_amp(config)
    assert config.optim_wrapper.type == "AmpOptimWrapper"


def test_augmentation_of_the_test_reaches_joined_datasets() -> None:
    steps = [{"type": "Flip"}]
    parts = [{"type": "A", "pipeline": []}, {"type": "B", "pipeline": []}]
    config = Config(
        {
            "model": {"type": "Model"},
            "tta_model": {"type": "Average"},
            "tta_pipeline": steps,
            "test_dataloader": {"dataset": {"type": "ConcatDataset", "datasets": parts}},
        }
    )
    use_tta(config)
    assert config.model == {"type": "Average", "module": {"type": "Model"}}
    assert [d.pipeline for d in config.test_dataloader.dataset.datasets] == [steps, steps]
    with pytest.raises(ValueError, match="no tta_model and tta_pipeline"):
        use_tta(Config({"model": {}}))


def test_pictures_go_where_the_user_says(tmp_path: Path) -> None:
    for kind, switched_on in (("VisualizationHook", "enable"), ("PaintPredictions", "draw")):
        config = Config({"default_hooks": {"visualization": {"type": kind}}})
        paint(config, tmp_path)
        hook = config.default_hooks.visualization
        assert hook[switched_on] is True
        assert str(tmp_path) in (hook.get("out_dir"), hook.get("test_out_dir"))
    with pytest.raises(ValueError, match=r"no default_hooks\.visualization"):
        paint(Config({"model": {}}), tmp_path)
