"""Lightning's trainer options with the pretraining command: each runs or is refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cmid.boundary import error_boundary
from cmid.pretraining import pretrain
from tests.integration.in_process import TINY, options


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for i in range(8):
        Image.fromarray(rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


def train(images: Path, run_dir: Path, *more: str) -> Path:
    """Two steps of a very small model, as the command runs it."""
    fields = TINY | {
        "data.source.init_args.root": images,
        "model.optimizer.name": "adamw",
        "reconstructions.every_n_epochs": 5,
        "run_dir": run_dir,
    }
    with error_boundary():
        return pretrain([*options(fields), *more])


@pytest.mark.slow
@pytest.mark.parametrize(
    "chosen",
    [
        ["logger=false"],
        ["enable_progress_bar=false"],
        ["callbacks=lightning.pytorch.callbacks.LearningRateMonitor"],
        ["callbacks=[{class_path: TQDMProgressBar}]"],
        ["callbacks=[{class_path: ModelCheckpoint}]"],
        ["max_time=00:00:01:00", "profiler=simple"],
        ["max_steps=1", "log_every_n_steps=1"],
        ["max_epochs=-1", "max_steps=2"],
        ["limit_train_batches=1", "accumulate_grad_batches=2"],
        ["gradient_clip_val=1", "detect_anomaly=true"],
        ["enable_model_summary=true", "num_sanity_val_steps=0", "check_val_every_n_epoch=2"],
        ["precision=bf16-mixed", "deterministic=true"],
        ["devices=auto", "inference_mode=false", "reload_dataloaders_every_n_epochs=1"],
    ],
    ids=" ".join,
)
def test_options_that_change_how_a_run_goes_leave_a_backbone(
    chosen: list[str], images: Path, tmp_path: Path
) -> None:
    folder = train(images, tmp_path / "run", *(f"--trainer.{option}" for option in chosen))
    assert (folder / "config.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("option", ["enable_checkpointing=false", "max_epochs=0"])
def test_a_run_without_a_checkpoint_says_that_nothing_is_exported(
    option: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train(images, tmp_path / "run", f"--trainer.{option}")
    assert not folder.exists()
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "exported" in line]
    assert line.startswith("nothing is exported: ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("barebones=true", "trainer.barebones"),
        ("overfit_batches=1", "--trainer.limit_train_batches"),
        ("default_root_dir=/somewhere", "--run_dir"),
        ("limit_train_batches=0", "trainer.limit_train_batches"),
        ("sync_batchnorm=true", "trainer.sync_batchnorm"),
        ("max_time=garbage", "garbage"),
        ("devices=0", "devices"),
        ("accumulate_grad_batches=0", "trainer.accumulate_grad_batches"),
        ("precision=16-true", "use 16-mixed"),
        ("precision=bf16-true", "use bf16-mixed"),
        ("precision=transformer-engine", "transformer_engine"),
        ("strategy=deepspeed", "deepspeed"),
        ("accelerator=tpu", "torch_xla"),
        ("accelerator=nonsense", "nonsense"),
        ("strategy=nonsense", "nonsense"),
        ("profiler=nonsense", "profiler"),
        ("num_nodes=0", "num_nodes"),
        ("max_epochs=-1", "trainer.max_epochs"),
        ("limit_train_batches=0.01", "limit_train_batches"),
        (
            "callbacks=[{class_path: EarlyStopping, init_args: {monitor: nothing}}]",
            "Early stopping",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused_in_one_line(
    option: str, expected: str, images: Path, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as refusal:
        train(images, tmp_path / "run", f"--trainer.{option}")
    line = str(refusal.value.code)
    assert line.startswith("error: ")
    assert expected in line
    assert "\n" not in line


def test_scaled_losses_do_not_go_with_sharding(images: Path, tmp_path: Path) -> None:
    both = ("--trainer.precision=16-mixed", "--trainer.strategy=fsdp")
    with pytest.raises(
        SystemExit, match=r"^error: trainer\.precision 16-mixed .* bf16-mixed .*ddp$"
    ):
        train(images, tmp_path / "run", *both)


@pytest.mark.slow
def test_a_gpu_that_is_not_there_is_named(images: Path, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(SystemExit, match=r"^error: .*gpu"):
        train(images, tmp_path / "run", "--trainer.accelerator=gpu")
