"""What every pretraining method of the tree does, by the command that users call."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

import benchmarks.baselines
import cmid.methods
from cmid.checkpoints.runs import TrainedEncoder
from cmid.methods import PretrainMethod
from cmid.pretraining import pretrain

pytest.importorskip("lightly", reason="extra dev is not installed")

# Options of each method that make it small.
METHODS: dict[str, dict[str, Any]] = {
    "cmid.methods.CMID": {
        "queue_size": 16,
        "num_prototypes": 16,
        "num_matches": 1,
        "head_width": 16,
    },
    "benchmarks.baselines.SimCLR": {},
    "benchmarks.baselines.MoCoV2": {"queue_size": 16},
    "benchmarks.baselines.BYOL": {},
    "benchmarks.baselines.DINO": {"num_prototypes": 16},
    "benchmarks.baselines.SimMIM": {},
    "benchmarks.baselines.LeJEPA": {"head_width": 16, "embed_width": 8},
}
SMALL = {
    "data.source": "cmid.data.SceneSource",
    "data.source.init_args.num_images": 8,
    "data.source.init_args.size": 32,
    "data.knn_train": "cmid.data.SceneSource",
    "data.knn_train.init_args.num_images": 24,
    "data.knn_train.init_args.size": 32,
    "data.knn_val": "cmid.data.SceneSource",
    "data.knn_val.init_args.num_images": 24,
    "data.knn_val.init_args.size": 32,
    "data.knn_val.init_args.seed": 1,
    "data.views": "cmid.views.TwoViews",
    "data.views.init_args.size": 32,
    "data.views.init_args.block_size": 16,
    "data.batch_size": 4,
    "data.num_workers": 0,
    "model.backbone": "resnet18",
    "model.backbone_args": '{"channels": [4, 8, 12, 16], "layers": [1, 1, 1, 1]}',
    "model.optimizer.warmup_epochs": 0,
    "trainer.accelerator": "cpu",
    "trainer.precision": "32-true",
    "trainer.max_epochs": 1,
    "trainer.log_every_n_steps": 1,
    "collapse.every_n_steps": 1,
    "checkpoints.every_n_steps": 1,
}


def arguments(class_path: str, **more: Any) -> list[str]:
    own = {f"model.{name}": value for name, value in METHODS.get(class_path, {}).items()}
    given = {"model.class_path": class_path} | SMALL | own | more
    return [f"--{name}={value}" for name, value in given.items()]


@pytest.fixture(scope="module", params=METHODS, ids=lambda path: path.rpartition(".")[2])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run of two steps: the method's import path and the run's folder."""
    folder = tmp_path_factory.mktemp("run") / "whole"
    return request.param, pretrain(arguments(request.param, run_dir=folder)).parent


def checkpoint(run_dir: Path, step: int) -> Path:
    return run_dir / f"checkpoints/step-{step:08d}.ckpt"


def load(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def test_every_method_of_the_tree_is_tested_here() -> None:
    found = set()
    for package in (cmid.methods, benchmarks.baselines):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            for name, value in vars(importlib.import_module(module.name)).items():
                method = inspect.isclass(value) and issubclass(value, PretrainMethod)
                if method and value.__module__ == module.name and not inspect.isabstract(value):
                    found.add(f"{package.__name__}.{name}")
    assert found == set(METHODS)


@pytest.mark.slow
def test_two_steps_leave_scores_of_every_role(run: tuple[str, Path]) -> None:
    class_path, run_dir = run
    entry = load(checkpoint(run_dir, 2))["cmid"]
    assert entry["method"] == class_path.rpartition(".")[2]
    assert entry["exported"] in entry["encoders"]
    (log,) = run_dir.glob("csv/version_*/metrics.csv")
    names = log.read_text().splitlines()[0].split(",")
    assert {f"knn/{role}" for role in entry["encoders"]} | {"knn/random_init"} <= set(names)
    assert {"loss", "features/effective_rank"} <= set(names)
    reconstructs = entry.get("weights", {}).get("reconstruction")
    assert (run_dir / "reconstructions.png").is_file() == bool(reconstructs)


@pytest.mark.slow
def test_run_resumed_after_a_step_ends_with_the_same_bits(
    run: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class_path, whole = run
    given = arguments(class_path, run_dir=tmp_path / "resumed", ckpt_path=checkpoint(whole, 1))
    resumed = load(checkpoint(pretrain(given).parent, 2))
    expected = load(checkpoint(whole, 2))
    assert "changed: " not in capsys.readouterr().out
    torch.testing.assert_close(
        resumed["state_dict"], expected["state_dict"], rtol=0, atol=0, equal_nan=True
    )
    torch.testing.assert_close(
        resumed["optimizer_states"], expected["optimizer_states"], rtol=0, atol=0
    )


@pytest.mark.slow
def test_export_is_the_backbone_of_the_checkpoint(run: tuple[str, Path]) -> None:
    class_path, run_dir = run
    images = torch.rand(2, 3, 32, 32)
    exported = timm.create_model(f"local-dir:{run_dir / 'backbone'}", pretrained=True).eval()
    state = load(checkpoint(run_dir, 2))
    entry = state["cmid"]
    for role, prefix in entry["encoders"].items():
        stored = TrainedEncoder.open(checkpoint(run_dir, 2), role)
        encoder = stored.build()
        first = state["state_dict"][f"{prefix}backbone.conv1.weight"]
        assert torch.equal(encoder.backbone.conv1.weight, first)
        assert stored.provenance["which"] == role
        if role == entry["exported"]:
            assert torch.equal(encoder.eval().pooled(images), exported(images))
    config = json.loads((run_dir / "backbone/config.json").read_text())
    assert config["cmid"]["method"] == class_path.rpartition(".")[2]
    assert not {"encoders", "exported"} & config["cmid"].keys()
    with pytest.raises(ValueError, match=r"which must be .* got 'nobody'"):
        TrainedEncoder.open(checkpoint(run_dir, 2), "nobody")


@pytest.mark.slow
def test_checkpoint_of_another_method_is_refused(run: tuple[str, Path], tmp_path: Path) -> None:
    class_path, run_dir = run
    other = "benchmarks.baselines.SimMIM"
    if class_path == other:
        other = "benchmarks.baselines.LeJEPA"
    given = arguments(other, run_dir=tmp_path / "new", ckpt_path=checkpoint(run_dir, 1))
    name, there = other.rpartition(".")[2], class_path.rpartition(".")[2]
    with pytest.raises(ValueError, match=f"made by {there}, this command trains {name}"):
        pretrain(given)
