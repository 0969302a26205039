from __future__ import annotations

from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import CSVLogger

from cmid.callbacks import CurvePicture, pictures
from cmid.visualization.curves import Series


class LateScore(L.Callback):
    """Logs a score when all other callbacks have had their turn."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        pl_module.log("knn/student", torch.tensor(float(trainer.current_epoch)))


def test_curves_are_drawn_once_an_epoch_with_its_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Series] = []
    draw = pictures.curve_figure
    monkeypatch.setattr(
        pictures, "curve_figure", lambda series, **kwargs: drawn.append(series) or draw(series)
    )
    trainer = L.Trainer(
        max_epochs=3,
        limit_train_batches=1,
        limit_val_batches=0,
        accelerator="cpu",
        logger=CSVLogger(tmp_path, name="csv"),
        default_root_dir=tmp_path,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=[CurvePicture(), LateScore()],
    )
    trainer.fit(BoringModel())
    scores = [[value for _, value in series["knn/student"]] for series in drawn]
    assert scores == [[0.0], [0.0, 1.0], [0.0, 1.0, 2.0]]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
