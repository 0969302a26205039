"""Runs that go on: from where, in which folder, with what."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.classification.fine_tuning import finetune
from cmid.files import NoRoomError
from cmid.pretraining import PretrainCLI, pretrain
from tests.integration.in_process import TINY, options

PRETRAIN = TINY | {
    "model.optimizer.name": "sgd",
    "model.optimizer.warmup_epochs": 0,
    "checkpoints.every_n_steps": 1,
    "checkpoints.keep": 2,
}
# 40 scenes are divided: 32 to train on are two steps of an epoch.
FINETUNE = {
    "data.root": "scenes",
    "data.num_scenes": 40,
    "data.size": 32,
    "data.batch_size": 16,
    "data.num_workers": 0,
    "model.backbone": "random:test_resnet",
    "trainer.accelerator": "cpu",
    "trainer.max_epochs": 2,
    "checkpoints.every_n_steps": 1,
    "checkpoints.keep": 2,
}
PARTS = {"checkpoints", "classes.csv", "confusion.png", "csv", "results.json", "tensorboard"}


def arguments(settings: dict[str, Any], **more: Any) -> list[str]:
    given = {key.replace("__", "."): value for key, value in more.items()}
    return options(settings | given)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight images: two steps of four make an epoch."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for i in range(8):
        pixels = random.integers(0, 256, (48, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps, in ``runs/exp``, after a shorter one of the user's."""
    runs = tmp_path_factory.mktemp("runs")
    train(runs / "exp-2024", trainer__max_epochs=1)
    return train(runs / "exp")


@pytest.fixture(scope="module")
def pretrained(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretraining of two steps."""
    return pretraining(images, tmp_path_factory.mktemp("pretrained") / "exp")


@pytest.fixture
def run_dir(finished: Path, tmp_path: Path) -> Path:
    """All runs, in another place; returns ``exp`` of it."""
    return moved(finished.parent, tmp_path / "moved") / "exp"


def moved(folder: Path, to: Path) -> Path:
    """What a command replaces here stays as it is there: links cost nothing."""
    return shutil.copytree(folder, to, copy_function=os.link)


def train(run_dir: Path, **more: Any) -> Path:
    """Fine-tune; returns the folder that was taken."""
    return finetune(arguments(FINETUNE, run_dir=run_dir, **more))


def pretraining(images: Path, run_dir: Path, **more: Any) -> Path:
    """Pretrain; returns the folder that the backbone was exported to."""
    given = arguments(PRETRAIN, data__source__init_args__root=images, run_dir=run_dir, **more)
    return pretrain(given).parent


def steps(run_dir: Path) -> list[int]:
    return sorted(int(p.stem[5:]) for p in run_dir.glob("checkpoints/step-*.ckpt"))


def contents(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file()
    }


def epochs(run_dir: Path) -> int:
    return int(json.loads((run_dir / "results.json").read_text())["epochs"])


def exported_step(run_dir: Path) -> int:
    config = json.loads((run_dir / "backbone/config.json").read_text())
    return int(config["cmid"]["global_step"])


@pytest.mark.slow
def test_moved_run_goes_on_where_it_is_now(
    finished: Path, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, neighbour = contents(finished.parent), contents(run_dir.with_name("exp-2024"))
    capsys.readouterr()
    assert train(run_dir, ckpt_path="last", trainer__max_epochs=3) == run_dir
    assert (steps(run_dir), epochs(run_dir)) == ([5, 6], 3)
    assert contents(finished.parent) == before
    assert contents(run_dir.with_name("exp-2024")) == neighbour
    assert len(list(run_dir.glob("csv/version_*/metrics.csv"))) == 2
    printed = capsys.readouterr().out
    assert f"going on from {run_dir}/checkpoints/step-00000004.ckpt in {run_dir}\n" in printed
    assert "changed: trainer.max_epochs is 3, the checkpoint has 2\n" in printed
    # Resumed again, it trains as many epochs as are asked for, and no more.
    train(run_dir, ckpt_path="last", trainer__max_epochs=4)
    assert (steps(run_dir), epochs(run_dir)) == ([7, 8], 4)


@pytest.mark.slow
def test_file_with_a_new_folder_puts_everything_there(run_dir: Path, tmp_path: Path) -> None:
    before = contents(run_dir.parent)
    file = run_dir / "checkpoints/step-00000004.ckpt"
    new = train(tmp_path / "new", ckpt_path=file, trainer__max_epochs=3)
    assert new == tmp_path / "new"
    assert steps(new) == [5, 6]
    assert {path.name for path in new.iterdir()} == {*PARTS, "run.json"}
    assert contents(run_dir.parent) == before


@pytest.mark.slow
def test_file_alone_goes_on_in_its_own_run_folder(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "config.yaml"
    config.write_text("run_dir: runs/of_the_configuration\n")
    file = run_dir / "checkpoints/step-00000003.ckpt"
    assert finetune([f"--config={config}", *arguments(FINETUNE, ckpt_path=file)]) == run_dir
    assert not (tmp_path / "runs").exists()
    # The fourth step was made anew; what the first run had made of it is still there.
    assert steps(run_dir) == [3, 4]
    assert (run_dir / "checkpoints/after-step-00000003/step-00000004.ckpt").is_file()


@pytest.mark.slow
def test_export_is_that_of_the_run_itself(
    pretrained: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = moved(pretrained.parent, tmp_path / "moved") / "exp"
    (tmp_path / "moved/exp-2/checkpoints").mkdir(parents=True)
    stranger = tmp_path / "moved/exp-2/checkpoints/step-00000099.ckpt"
    stranger.write_bytes(b"of somebody else")
    # Nothing is left to do: the checkpoint that is there is exported.
    shutil.rmtree(run_dir / "backbone")
    assert pretraining(images, run_dir, ckpt_path="last") == run_dir
    assert (steps(run_dir), exported_step(run_dir)) == ([1, 2], 2)
    pretraining(images, run_dir, ckpt_path="last", trainer__max_steps=3, trainer__max_epochs=2)
    assert (steps(run_dir), exported_step(run_dir)) == ([2, 3], 3)
    assert exported_step(pretrained) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("model__queue_size", 32, "model.queue_size is 32, the checkpoint has 16"),
        ("model__num_prototypes", 8, "model.num_prototypes is 8, the checkpoint has 16"),
        (
            "model__backbone",
            "resnet18",
            "model.backbone is resnet18, the checkpoint has test_resnet",
        ),
        ("model__agreement", "byol", "model.agreement is byol, the checkpoint has moco"),
        (
            "model__optimizer__name",
            "adamw",
            "model.optimizer.name is adamw, the checkpoint has",
        ),
    ],
)
def test_other_model_is_refused_by_the_name_of_the_option(
    option: str, value: Any, expected: str, pretrained: Path, images: Path, tmp_path: Path
) -> None:
    before = contents(pretrained)
    for run_dir in (pretrained, without_configuration(pretrained, tmp_path / "earlier")):
        if run_dir != pretrained and option == "model__optimizer__name":
            continue  # checkpoints of earlier versions do not name it
        with pytest.raises(ValueError, match=r"step-00000002.ckpt does not fit") as refused:
            pretraining(images, run_dir, ckpt_path="last", **{option: value})
        assert expected in str(refused.value)
        assert "\n" not in str(refused.value)
    assert contents(pretrained) == before


def without_configuration(run_dir: Path, to: Path) -> Path:
    """A run as earlier versions left it."""
    moved(run_dir, to)
    (to / "run.json").unlink(missing_ok=True)
    for path in to.glob("checkpoints/*.ckpt"):
        content = torch.load(path, weights_only=True)
        del content["run"]
        content["callbacks"]["KeepCheckpoints{'monitor': 'step'}"] = {
            "best_k_models": {"/elsewhere/step-00000001.ckpt": torch.tensor(1)},
            "dirpath": "/elsewhere",
        }
        path.unlink()
        torch.save(content, path)
    return to


@pytest.mark.slow
def test_several_differences_take_a_line_each(pretrained: Path, images: Path) -> None:
    more = {"model__queue_size": 32, "model__num_prototypes": 8, "model__backbone": "resnet18"}
    with pytest.raises(ValueError, match="does not fit") as refused:
        pretraining(images, pretrained, ckpt_path="last", **more)
    lines = str(refused.value).splitlines()
    assert len(lines) == 4
    assert all("the checkpoint has" in line for line in lines[1:])


@pytest.mark.slow
def test_other_data_rate_and_batch_are_said_in_a_line_each(
    pretrained: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = shutil.copytree(images, tmp_path / "elsewhere")
    capsys.readouterr()
    changes = {"data.batch_size": 2, "model.optimizer.base_lr": 0.1, "trainer.max_epochs": 4}
    given = PRETRAIN | changes | {"data.source.init_args.root": elsewhere, "run_dir": pretrained}
    with PretrainCLI(arguments(given, ckpt_path="last")):
        changed = [x for x in capsys.readouterr().out.splitlines() if x.startswith("changed: ")]
    assert sorted(changed) == [
        "changed: data.batch_size is 2, the checkpoint has 4",
        f"changed: data.source.init_args.root is {short(elsewhere)}, the checkpoint has"
        f" {short(images)}",
        "changed: model.optimizer.base_lr is 0.1, the checkpoint has 0.004",
        "changed: trainer.max_epochs is 4, the checkpoint has 1",
    ]


def short(path: Path) -> str:
    return str(path) if len(str(path)) <= 60 else f"{str(path)[:57]}..."


@pytest.mark.slow
def test_weights_alone_and_checkpoints_of_other_commands_are_refused(
    finished: Path, images: Path, tmp_path: Path
) -> None:
    content = torch.load(finished / "checkpoints/step-00000004.ckpt", weights_only=True)
    torch.save({"state_dict": content["state_dict"]}, tmp_path / "weights.ckpt")
    torch.save({**content, "cmid": {"method": "FarSLIP"}}, tmp_path / "clip.ckpt")
    torch.save(content, tmp_path / "classifier.ckpt")
    for name, expected in (
        ("weights", "holds weights only"),
        ("clip", "made by FarSLIP, this command trains CMID"),
        ("classifier", "made by fine-tuning, this command trains CMID"),
    ):
        with pytest.raises(ValueError, match=expected):
            pretraining(images, tmp_path / "new", ckpt_path=tmp_path / f"{name}.ckpt")
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_run_of_an_earlier_version_goes_on(
    finished: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    run_dir = without_configuration(finished, tmp_path / "exp")
    assert train(run_dir, ckpt_path="last", trainer__max_epochs=3) == run_dir
    assert steps(run_dir) == [5, 6]
    assert not [w for w in recwarn if "KeepCheckpoints" in str(w.message)]


@pytest.mark.slow
def test_other_classes_and_groups_of_parameters_are_refused(run_dir: Path) -> None:
    with pytest.raises(ValueError, match=r"groups of .* weight decay"):
        train(run_dir, ckpt_path="last", trainer__max_epochs=3, model__optimizer__weight_decay=0)
    classes = json.loads((run_dir / "results.json").read_text())
    assert classes  # the run is whole
    path = run_dir / "checkpoints/step-00000004.ckpt"
    content = torch.load(path, weights_only=True)
    content["run"]["experiment"]["model.classes"].reverse()
    path.unlink()
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"does not fit .* model.classes is"):
        train(run_dir, ckpt_path="last", trainer__max_epochs=3)


@pytest.mark.slow
def test_full_disk_ends_a_run_with_one_line_and_whole_checkpoints(run_dir: Path) -> None:
    before = contents(run_dir / "checkpoints")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(NoRoomError, match=r"no room for .*step-00000005.ckpt") as raised:
            train(run_dir, ckpt_path="last", trainer__max_epochs=3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "needs about" in str(raised.value)
    assert raised.value.errno == errno.EFBIG
    assert contents(run_dir / "checkpoints") == before
    # Nobody holds the folder after that.
    assert train(run_dir, ckpt_path="last", trainer__max_epochs=3) == run_dir


@pytest.mark.slow
def test_little_room_is_said_at_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    new = train(tmp_path / "new", trainer__max_steps=1)
    size = (new / "checkpoints/step-00000001.ckpt").stat().st_size
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("warning: ")]
    assert "1.0 MB are free" in line
    needed = float(line.partition("3 checkpoints need about ")[2].split()[0]) * 1e6
    assert needed == pytest.approx(3 * size, rel=0.2)


@pytest.mark.slow
def test_refused_configuration_leaves_no_folder(images: Path, tmp_path: Path) -> None:
    with pytest.raises((ValueError, SystemExit)):
        pretraining(images, tmp_path / "new", model__backbone="resnet19")
    assert not (tmp_path / "new").exists()


def test_run_folder_is_refused_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    built: list[int] = []
    monkeypatch.setattr(PretrainCLI, "instantiate_classes", lambda self: built.append(1))
    with pytest.raises(ValueError, match="it is a file"):
        pretraining(tmp_path, tmp_path / "file")
    assert built == []
