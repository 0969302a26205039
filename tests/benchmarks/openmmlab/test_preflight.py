"""OpenMMLab's silent half-loading: what it lets pass is refused before training starts."""

from __future__ import annotations

import importlib.util
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")

from mmengine.config import Config, ConfigDict
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope

from benchmarks.openmmlab import CMIDBackbone, check_pretrained
from benchmarks.openmmlab.experiment import build_runner, load_config
from benchmarks.openmmlab.preflight import check_checkpoint, check_strides
from cmid.export import NativeBackbone, to_openmmlab
from cmid.export.openmmlab import Package
from cmid.models import MaskedEncoder

for _package in ("mmdet", "mmseg", "mmpretrain"):
    import_module(f"{_package}.models")
# mmdetection's Swin reads names with a prefix only, mmsegmentation's ViT names without one only.
FAMILIES: dict[str, tuple[Package, str, dict[str, Any]]] = {
    "resnet": ("mmdet", "resnet18", {"img_size": 64}),
    "swin": (
        "mmdet",
        "swin_tiny_patch4_window7_224",
        {"img_size": 128, "window_size": 2, "embed_dim": 24, "depths": (1, 1, 2, 1)},
    ),
    "vit": ("mmseg", "vit_tiny_patch16_224", {"img_size": 64, "depth": 4}),
    "convnext": ("mmseg", "convnext_atto", {"img_size": 64}),
}


class Model(BaseModel):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.backbone(inputs)[-1]


def native(family: str) -> NativeBackbone:
    package, name, arguments = FAMILIES[family]
    return to_openmmlab(MaskedEncoder(name, **arguments), package)


def model(arguments: dict[str, Any], init_cfg: dict[str, Any], package: Package = "mmdet") -> Model:
    models = import_module(f"{package}.registry").MODELS
    with DefaultScope.overwrite_default_scope(package):
        return Model(models.build(ConfigDict(arguments | {"init_cfg": init_cfg})))


def saved(network: NativeBackbone, path: Path) -> dict[str, Any]:
    return network.init_cfg | {"checkpoint": str(network.save(path))}


@pytest.mark.parametrize(
    ("family", "suffix"),
    [("resnet", ".safetensors"), ("swin", ".pth"), ("vit", ".safetensors"), ("convnext", ".pth")],
)
def test_what_is_printed_loads_everything(family: str, suffix: str, tmp_path: Path) -> None:
    network = native(family)
    init_cfg = saved(network, tmp_path / f"net{suffix}")
    whole = model(network.arguments, init_cfg, FAMILIES[family][0])
    before = {k: v.clone() for k, v in whole.state_dict().items()}
    state = torch.random.get_rng_state()
    (line,) = check_pretrained(whole)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in whole.state_dict().items())
    total = len(whole.backbone.state_dict())
    assert f"backbone: {len(network.weights)} of {total} tensors" in line
    if network.new:
        assert line.endswith(f"; new: {', '.join(network.new)}")
    whole.init_weights()  # and this is what training then does
    loaded = whole.backbone.state_dict()
    for name, tensor in network.weights.items():
        torch.testing.assert_close(loaded[name], tensor, msg=name)


def test_the_line_counts_by_part(tmp_path: Path) -> None:
    network = native("resnet")
    weights = {f"backbone.{k}": v for k, v in network.weights.items()}
    weights = {k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")}
    torch.save(weights | {"backbone.fc.weight": torch.zeros(2)}, tmp_path / "net.pth")
    init_cfg = {"type": "Pretrained", "prefix": "backbone.", "checkpoint": f"{tmp_path}/net.pth"}
    (line,) = check_pretrained(model(network.arguments, init_cfg))
    assert "100 of 120 tensors of ResNet loaded" in line
    assert "conv1 1, bn1 4, layer1 20, layer2 25, layer3 25, layer4 25" in line
    assert line.endswith("; not used: fc 1")


def half(network: NativeBackbone) -> NativeBackbone:
    kept = {k: v for k, v in network.weights.items() if not k.startswith("layer3.")}
    return NativeBackbone(network.arguments, kept, network.prefix)


def test_half_loaded_weights_are_refused(tmp_path: Path) -> None:
    network = native("resnet")
    arguments = network.arguments
    init_cfg = saved(half(network), tmp_path / "half.pth")
    message = r"backbone: .*half\.pth lacks 25 of 120 .* \(no such names\), first layer3\.0\.conv1"
    with pytest.raises(ValueError, match=message):
        check_pretrained(model(arguments, init_cfg))
    init_cfg = saved(network, tmp_path / "net.pth")
    with pytest.raises(ValueError, match=r"lacks 100 of 120 .*; compare prefix and arguments"):
        check_pretrained(model(arguments, {k: v for k, v in init_cfg.items() if k != "prefix"}))
    with pytest.raises(ValueError, match=r"ResNet cannot read .*net\.pth: teacher\. is not in the"):
        check_pretrained(model(arguments, init_cfg | {"prefix": "teacher."}))
    with pytest.raises(ValueError, match=r"lacks .* of another shape\), first conv1\.weight"):
        check_pretrained(model(arguments | {"in_channels": 4}, init_cfg))
    for suffix in ("pth", "safetensors"):
        with pytest.raises(FileNotFoundError, match=f"none[.]{suffix}"):
            check_pretrained(model(arguments, init_cfg | {"checkpoint": f"none.{suffix}"}))


def test_vits_names_of_another_package_are_refused(tmp_path: Path) -> None:
    _, name, arguments = FAMILIES["vit"]
    other = to_openmmlab(MaskedEncoder(name, **arguments), "mmpretrain")
    init_cfg = saved(other, tmp_path / "vit.pth")
    with pytest.raises(ValueError, match=r"lacks .* of VisionTransformer"):
        check_pretrained(model(native("vit").arguments, init_cfg, "mmseg"))


def test_other_backbones_are_left_alone() -> None:
    assert check_pretrained(Model(CMIDBackbone("random:resnet18", img_size=64))) == []
    assert check_pretrained(model({"type": "ResNet", "depth": 18}, {"type": "Kaiming"})) == []


def config(init_cfg: dict[str, Any], tmp_path: Path) -> Config:
    backbone = {"type": "ResNet", "depth": 18, "out_indices": (3,), "init_cfg": init_cfg}
    head = {"type": "LinearClsHead", "num_classes": 10, "in_channels": 512}
    neck = {"type": "GlobalAveragePooling"}
    content = {
        "model": {"type": "ImageClassifier", "backbone": backbone, "neck": neck, "head": head},
        "default_scope": "mmpretrain",
        "work_dir": str(tmp_path / "work"),
        "experiment_name": f"preflight_{tmp_path.name}",
    }
    return Config(content)


def test_the_runner_is_not_built_with_half_of_the_weights(tmp_path: Path) -> None:
    network = native("resnet")
    init_cfg = saved(half(network), tmp_path / "half.pth")
    with pytest.raises(ValueError, match="lacks 25 of 120"):
        build_runner(config(init_cfg, tmp_path))
    forced = config(init_cfg, tmp_path)
    forced.check_pretrained = False
    forced.experiment_name += "_forced"
    build_runner(forced)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "epoch_1.pth"
    written = Model(CMIDBackbone("random:resnet18", img_size=64))
    weights = written.state_dict()
    torch.save({"meta": {}, "state_dict": weights}, path)
    check_checkpoint(written, path)
    first = next(iter(weights))
    for state, fault in (
        ({k: v for k, v in weights.items() if k != first}, f"it lacks 1 weights, first {first}"),
        (weights | {first: torch.zeros(3)}, f"in another shape 1 weights, first {first}"),
        (weights | {"head.weight": torch.zeros(3)}, "besides .* 1 weights, first head.weight"),
    ):
        torch.save({"meta": {}, "state_dict": state}, path)
        with pytest.raises(ValueError, match=rf"epoch_1\.pth is of another model: .*{fault}; give"):
            check_checkpoint(written, path)
    path.write_text("no checkpoint")
    with pytest.raises(ValueError, match=r"epoch_1\.pth"):
        check_checkpoint(written, path)


def test_a_test_and_a_resumed_training_take_no_part_of_a_checkpoint(
    root: Path, tmp_path: Path
) -> None:
    path = tmp_path / "epoch_1.pth"
    torch.save({"meta": {}, "state_dict": {"backbone.weight": torch.zeros(3)}}, path)
    (tmp_path / "last_checkpoint").write_text(str(path))
    config = load_config(
        root / "configs/classification/mmpretrain_scenes.py",
        backbone="random:resnet18",
        work_dir=str(tmp_path),
    )
    config.experiment_name = tmp_path.name
    with pytest.raises(ValueError, match=r"epoch_1\.pth is of another model"):
        build_runner(config, trained=path)
    config.load_from, config.resume = None, True
    config.experiment_name += "_resumed"
    with pytest.raises(ValueError, match=r"epoch_1\.pth is of another model"):
        build_runner(config)


def test_anchors_of_other_strides_than_the_maps_are_refused(root: Path) -> None:
    path = root / "configs/detection/faster_rcnn_resnet18_scenes.py"
    roi = "model.roi_head.bbox_roi_extractor"
    fine = {"model.backbone.output_stride": 16}
    anchors = {
        "model.rpn_head.anchor_generator.strides": [4, 8, 16, 16, 32],
        "model.rpn_head.anchor_generator.base_sizes": [4, 8, 16, 32, 64],
    }

    def build(options: dict[str, Any]) -> nn.Module:
        config = load_config(path, options=options)
        with DefaultScope.overwrite_default_scope(config.default_scope):
            return MODELS.build(config.model)

    check_strides(build({}))
    with pytest.raises(ValueError, match=r"RPNHead is laid out for .* leave model\.backbone"):
        check_strides(build(fine))
    with pytest.raises(
        ValueError, match=r"SingleRoIExtractor is laid out for strides \[4, 8, 16, 3"
    ):
        check_strides(build(fine | anchors))
    model = build(fine | anchors | {f"{roi}.featmap_strides": [4, 8, 16, 16]})
    check_strides(model)
    maps = model.extract_feat(torch.rand(1, 3, 64, 64))
    assert [64 // each.shape[-1] for each in maps] == [4, 8, 16, 16, 32]


def test_the_command_says_it_in_one_line(root: Path, tmp_path: Path) -> None:
    init_cfg = saved(half(native("resnet")), tmp_path / "half.pth")
    shipped = root / "configs/classification/mmpretrain_scenes.py"
    lines = [
        f"_base_ = {str(shipped)!r}",
        "model = dict(backbone=dict(_delete_=True, type='ResNet', depth=18, out_indices=(3,),",
        f"    init_cfg={init_cfg!r}), head=dict(in_channels=512))",
    ]
    (tmp_path / "native.py").write_text("\n".join(lines))
    spec = importlib.util.spec_from_file_location("train_command", root / "tools/train.py")
    assert spec is not None
    assert spec.loader is not None
    command = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(command)
    with pytest.raises(SystemExit, match=r"^error: backbone: .*half\.pth lacks 25 of 120 [^\n]*$"):
        command.main([str(tmp_path / "native.py"), "--work_dir", str(tmp_path / "work")])
