from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from cmid.callbacks import TrainingProgress


class Line(L.LightningModule):
    """A straight line, fitted."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        loss = (self.weight - batch).square().mean()
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(progress: TrainingProgress, folder: Path, **options: Any) -> L.Trainer:
    trainer = L.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        callbacks=[progress],
        default_root_dir=str(folder),
        **options,
    )
    trainer.fit(Line(), torch.utils.data.DataLoader(torch.ones(12), batch_size=1))
    return trainer


def lines_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("fitting")]


def test_a_log_gets_a_line_at_the_end_and_no_carriage_returns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(TrainingProgress(title="fitting"), tmp_path)
    written = capsys.readouterr().err
    assert "\r" not in written
    (line,) = lines_of(written)
    assert line.startswith("fitting: step 24/24, ")
    assert "0:00:00 left, epoch 2/2, loss " in line


def test_a_log_gets_a_line_at_intervals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(TrainingProgress(8, title="fitting", line_every=0), tmp_path)
    steps = [line.split(",")[0] for line in lines_of(capsys.readouterr().err)]
    assert steps == [f"fitting: step {step}/24" for step in (8, 16, 24)]


def test_a_terminal_gets_a_bar(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    fit(TrainingProgress(title="fitting"), tmp_path)
    assert "24/24" in capsys.readouterr().err.split("\r")[-1]


def test_a_disabled_bar_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    progress = TrainingProgress(title="fitting")
    progress.disable()
    fit(progress, tmp_path)
    assert not lines_of(capsys.readouterr().err)
