from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image

from cmid.callbacks import CollapseMonitor, KeepCheckpoints, SkippedImages, resolve_checkpoint
from cmid.callbacks.checkpoint import AtomicCheckpointIO, damage
from cmid.data import ImageFolder, PretrainData, SceneSource
from cmid.methods import CMID
from cmid.run_folder import new_run_folder
from cmid.views import TwoViews
from cmid.visualization.curves import curve_figure, read_metrics
from cmid.visualization.reconstruction import reconstruction_figure
from cmid.visualization.saving import save_figure


def method() -> CMID:
    return CMID(
        "convnext_atto",
        img_size=32,
        queue_size=16,
        num_prototypes=16,
        num_matches=1,
        head_width=32,
    )


def fit(source: Any, *callbacks: L.Callback, steps: int, folder: Path, **data: Any) -> L.Trainer:
    trainer = L.Trainer(
        max_steps=steps,
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        plugins=[AtomicCheckpointIO()],
    )
    views = TwoViews(size=32, block_size=16)
    trainer.fit(method(), PretrainData(source, views, batch_size=4, num_workers=0, **data))
    return trainer


def test_skipped_images_are_counted_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for i in range(8):
        pixels = SceneSource(8, size=32).read(i).pixels.permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(images / f"{i}.png")
    (images / "5.png").write_bytes(b"broken")
    fit(
        ImageFolder(images),
        SkippedImages(),
        steps=2,
        folder=tmp_path,
        on_error="skip",
    )
    printed = capsys.readouterr().out
    assert "epoch 1: 1 unreadable images skipped" in printed
    assert "5.png" in printed


def test_last_checkpoints_are_kept_and_the_final_one_is_written(tmp_path: Path) -> None:
    fit(SceneSource(8, size=32), KeepCheckpoints(2, keep=2), steps=5, folder=tmp_path)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000002.ckpt", "step-00000004.ckpt", "step-00000005.ckpt"]
    assert resolve_checkpoint("last", tmp_path).name == "step-00000005.ckpt"
    with pytest.raises(ValueError, match="at least 2"):
        KeepCheckpoints(2, keep=1)


def test_damaged_checkpoint_is_refused_with_the_previous_one(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for step in (1, 2):
        torch.save({"x": torch.randn(1000)}, folder / f"step-{step:08}.ckpt")
        os.utime(folder / f"step-{step:08}.ckpt", (step, step))
    newest = folder / "step-00000002.ckpt"
    assert damage(newest) is None
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 0xFF
    newest.write_bytes(content)
    with pytest.raises(ValueError, match=r"step-00000002.*damaged.*step-00000001"):
        resolve_checkpoint("last", tmp_path)
    newest.write_bytes(content[:500])
    with pytest.raises(ValueError, match=r"step-00000002.*damaged.*step-00000001"):
        resolve_checkpoint(str(newest), tmp_path)
    assert resolve_checkpoint(str(folder / "step-00000001.ckpt"), tmp_path).is_file()


def test_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint in"):
        resolve_checkpoint("last", tmp_path)
    with pytest.raises(FileNotFoundError, match="absent"):
        resolve_checkpoint(str(tmp_path / "absent.ckpt"), tmp_path)


def test_failed_write_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    writer = AtomicCheckpointIO()
    writer.save_checkpoint({"value": 1}, path)
    with pytest.raises(Exception, match="pickle"):
        writer.save_checkpoint({"value": lambda: 1}, path)
    assert torch.load(path, weights_only=True) == {"value": 1}


def test_used_run_folders_are_left_alone(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    with new_run_folder(run_dir) as folder:
        assert folder.path == run_dir
    (run_dir / "checkpoints").mkdir(parents=True)
    (run_dir / "checkpoints" / "step-00000001.ckpt").touch()
    with new_run_folder(run_dir) as folder:
        assert folder.path == tmp_path / "run-2"


@pytest.mark.parametrize(
    ("features", "warns"),
    [
        (torch.randn(64, 32), False),
        (torch.ones(64, 32) + 1e-4 * torch.randn(64, 32), True),
        (torch.randn(64, 1) @ torch.randn(1, 32), True),
    ],
)
def test_collapse_is_warned_of_once(
    features: torch.Tensor, warns: bool, recwarn: pytest.WarningsRecorder
) -> None:
    monitor, logged = CollapseMonitor(1), {}

    class Module:
        log_dict = staticmethod(logged.update)
        watched = staticmethod(lambda: {"prototypes/used": 3.0})

    class Trainer:
        global_step = 10

    for _ in range(2):
        monitor.on_train_batch_end(Trainer(), Module(), {"features": features}, {}, 0)  # type: ignore[arg-type]
    warned = [w for w in recwarn if "features collapse at step 10" in str(w.message)]
    assert len(warned) == int(warns)
    assert set(logged) == {
        "features/effective_rank",
        "features/relative_std",
        "prototypes/used",
    }


def test_curves_join_the_logs_of_resumed_parts(tmp_path: Path) -> None:
    for version, rows in ((0, "1,5.0,\n2,4.0,0.3\n"), (1, "2,4.5,\n3,3.0,\n")):
        folder = tmp_path / f"csv/version_{version}"
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text("step,loss/local,knn/student\n" + rows)
        os.utime(folder / "metrics.csv", (version + 1, version + 1))
    series = read_metrics(tmp_path)
    assert series == {
        "loss/local": [(1, 5.0), (2, 4.5), (3, 3.0)],
        "knn/student": [(2, 0.3)],
    }
    path = save_figure(curve_figure(series), tmp_path / "curves.png")
    assert Image.open(path).size[0] > 800


@pytest.mark.parametrize("bands", [1, 3, 10])
def test_reconstructions_are_drawn_for_any_bands(bands: int, tmp_path: Path) -> None:
    images = torch.rand(4, bands, 16, 16)
    path = save_figure(reconstruction_figure(images, images, images), tmp_path / "r.png")
    assert Image.open(path).size[0] > 400
    assert list(tmp_path.iterdir()) == [path]


def test_reconstructions_are_pasted_into_what_was_visible() -> None:
    inputs, guess = torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.25)
    masks = torch.tensor([[[True, False], [False, False]]])
    axes = reconstruction_figure(inputs, inputs, guess, masks).axes
    shown = {axis.get_ylabel(): axis.images[0].get_array() for axis in axes[:5]}
    expected = np.zeros((8, 8))
    expected[:4, :4] = 0.25
    for row in ("visible +\nreconstruction", "error"):
        picture = np.asarray(shown[row])
        assert (picture if picture.ndim == 2 else picture[..., 0]) == pytest.approx(expected)
    assert np.asarray(shown["reconstruction"]).min() == pytest.approx(0.25)
