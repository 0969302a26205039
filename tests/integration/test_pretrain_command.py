"""The pretraining command, as a user runs it."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import timm
import torch

from tests.integration.in_process import ROOT, Outcome, run

CONFIGS = sorted((ROOT / "configs/pretrain").glob("*.yaml"))
REDUCED = [
    "--data.source.init_args.num_images=64",
    "--data.knn_train.init_args.num_images=40",
    "--data.knn_val.init_args.num_images=20",
    "--data.batch_size=8",
    "--data.num_workers=1",
    "--trainer.max_epochs=2",
    "--trainer.log_every_n_steps=1",
    "--throughput.every_n_steps=2",
    "--collapse.every_n_steps=2",
    "--model.num_prototypes=64",
    "--model.queue_size=64",
]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def pretrain(*arguments: str) -> Outcome:
    return run("tools/pretrain.py", *arguments)


def final_state(run_dir: Path) -> dict[str, torch.Tensor]:
    newest = max(run_dir.glob("checkpoints/step-*.ckpt"))
    return torch.load(newest, weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A whole reduced run: its folder and what it printed."""
    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    result = pretrain(*REDUCED, "--run_dir", str(run_dir), "--checkpoints.every_n_steps=5")
    assert result.status == 0, result.err[-3000:]
    return run_dir, result.out


def test_help_is_there_at_once() -> None:
    # From a process between: workers of earlier tests that end meanwhile are children of this one.
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True);"
        "usage = resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(usage.ru_utime + usage.ru_stime)"
    )
    command = [sys.executable, "-c", code, sys.executable, "tools/pretrain.py", "--help"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0
    for option in ("--config", "--ckpt_path", "--print_config", "--data.source", "--run_dir"):
        assert option in result.stdout
    assert float(result.stdout.splitlines()[-1]) < 2


@pytest.mark.slow
def test_default_run_leaves_pictures_metrics_and_a_backbone(finished: tuple[Path, str]) -> None:
    run_dir, printed = finished
    assert "learning rate" in printed
    assert "random initialisation" in printed
    for picture in ("curves.png", "reconstructions.png"):
        assert (run_dir / picture).read_bytes().startswith(b"\x89PNG")
    (log,) = run_dir.glob("csv/version_*/metrics.csv")
    with log.open(newline="") as lines:
        names = set(csv.DictReader(lines).fieldnames or ())
    assert names >= {
        "loss",
        "loss/spatial",
        "loss/frequency",
        "loss/contrastive",
        "loss/local",
        "knn/random_init",
        "knn/teacher",
        "knn/student",
        "features/effective_rank",
        "features/relative_std",
        "speed/images_per_second",
        "speed/waiting_for_data",
        "speed/peak_memory_gib",
        "optimizer/lr",
        "teacher/momentum",
        "data/skipped",
    }
    assert list(run_dir.glob("tensorboard/version_*/events*"))
    model = timm.create_model(f"local-dir:{run_dir / 'backbone'}", pretrained=True)
    assert model(torch.rand(1, 3, 64, 64)).shape == (1, 256)
    assert f'timm.create_model("local-dir:{run_dir / "backbone"}", pretrained=True)' in printed


@pytest.mark.slow
def test_run_killed_in_mid_epoch_ends_with_the_same_bits(
    finished: tuple[Path, str], tmp_path: Path
) -> None:
    whole, _ = finished
    run_dir = tmp_path / "killed"
    arguments = [*REDUCED, "--run_dir", str(run_dir), "--checkpoints.every_n_steps=3"]
    process = subprocess.Popen(
        [sys.executable, "tools/pretrain.py", *arguments],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 200
    # Two checkpoints there: the second one lies within an epoch of 8 steps.
    while len(list(run_dir.glob("checkpoints/step-*.ckpt"))) < 2 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert process.poll() is None, "the run ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    steps = sorted(path.stem for path in run_dir.glob("checkpoints/step-*.ckpt"))
    assert steps[-1] < "step-00000016"

    result = pretrain(*arguments, "--ckpt_path", "last")
    assert result.status == 0, result.err[-3000:]
    expected, resumed = final_state(whole), final_state(run_dir)
    assert expected.keys() == resumed.keys()
    assert [name for name in expected if not torch.equal(expected[name], resumed[name])] == []


@pytest.mark.slow
def test_truncated_checkpoint_is_named_with_the_one_to_use(
    finished: tuple[Path, str], tmp_path: Path
) -> None:
    run_dir = shutil.copytree(finished[0], tmp_path / "damaged")
    older, newest = sorted(run_dir.glob("checkpoints/step-*.ckpt"))[-2:]
    newest.write_bytes(newest.read_bytes()[:1000])
    refused = pretrain(*REDUCED, "--run_dir", str(run_dir), "--ckpt_path", "last")
    assert refused.status != 0
    assert "Traceback" not in refused.err
    message = refused.err.strip().splitlines()[-1]
    assert str(newest) in message
    assert str(older) in message
    assert pretrain(*REDUCED, "--ckpt_path", str(older)).status == 0
    assert final_state(run_dir).keys() == final_state(finished[0]).keys()


@pytest.mark.slow
def test_second_start_leaves_the_first_run_alone(finished: tuple[Path, str]) -> None:
    run_dir, _ = finished
    before = sorted(run_dir.rglob("*"))
    result = pretrain(*REDUCED, "--run_dir", str(run_dir), "--trainer.max_steps=1")
    assert result.status == 0, result.err[-3000:]
    assert sorted(run_dir.rglob("*")) == before
    assert (run_dir.with_name(f"{run_dir.name}-2") / "backbone/config.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--model.bakbone=resnet18"], "model.backbone"),
        (["--trainer.max_epoch=3"], "trainer.max_epochs"),
        (["--data.source.init_args.num_imges=3"], "Did you mean: num_images"),
        (["--model.backbone=resnet19"], "resnet"),
        (["--data.batch_size=5000"], "fewer than one batch"),
        (["--data.statistics=missing.json"], "missing.json"),
        (["--ckpt_path=last", "--run_dir=nowhere"], "nowhere"),
        (["--data.source=cmid.data.ImageFolder", "--data.source.root=missing"], "missing"),
        (["--data.views.init_args.block_size=20"], "block_size 20 does not divide"),
    ],
)
def test_bad_configurations_give_one_line_that_helps(
    arguments: list[str], expected: str, tmp_path: Path
) -> None:
    result = pretrain("--run_dir", str(tmp_path / "run"), *arguments)
    assert result.status != 0
    assert "Traceback" not in result.err
    assert "usage:" not in result.err
    assert expected in result.err


def test_a_printed_configuration_is_one_to_start_from(tmp_path: Path) -> None:
    printed = pretrain("--model.backbone=test_resnet", "--print_config").out
    (tmp_path / "mine.yaml").write_text(printed)
    assert pretrain("--config", str(tmp_path / "mine.yaml"), "--print_config").out == printed


def test_null_on_the_command_line_leaves_out_what_a_configuration_names() -> None:
    config = "configs/pretrain/cmid_resnet18_eurosat.yaml"
    result = pretrain("--config", config, "--data.statistics", "null", "--print_config")
    assert "statistics: null" in result.out


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configurations_are_understood(config: Path) -> None:
    result = pretrain("--config", str(config), "--print_config")
    assert result.status == 0, result.err[-2000:]
    assert "backbone:" in result.out
