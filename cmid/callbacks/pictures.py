"""Pictures of a run, written to its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import default_collate

from cmid.models.evaluating import evaluating
from cmid.schedule import ends_due_epoch
from cmid.views import Views
from cmid.visualization.curves import curve_figure, read_metrics
from cmid.visualization.reconstruction import reconstruction_figure
from cmid.visualization.saving import save_figure


class ReconstructionPicture(L.Callback):
    """Write ``reconstructions.png``: inputs, masked inputs, reconstructions and their errors.

    The images are the same every time.

    Args:
        every_n_epochs: how often; it is also written at the end.
        num_images: columns of the sheet.
    """

    def __init__(self, every_n_epochs: int = 1, *, num_images: int = 8) -> None:
        self.every_n_epochs = every_n_epochs
        self.num_images = num_images

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if not ends_due_epoch(trainer, self.every_n_epochs):
            return
        # All processes draw: the forward pass of a sharded model needs all of them.
        drawn = self.draw(trainer, pl_module)
        if drawn is not None and trainer.is_global_zero:
            save_figure(
                reconstruction_figure(*drawn),
                Path(trainer.default_root_dir) / "reconstructions.png",
            )

    @torch.no_grad()
    def draw(self, trainer: L.Trainer, pl_module: Any) -> tuple[torch.Tensor, ...] | None:
        """Inputs, masked inputs and reconstructions in [0, 1], and the masks of blocks.

        None where the method reconstructs nothing.
        """
        dataset = trainer.train_dataloader.dataset  # type: ignore[union-attr]
        count = min(self.num_images, len(dataset))
        samples = [dataset[0, i * len(dataset) // count] for i in range(count)]
        batch = pl_module.transfer_batch_to_device(default_collate(samples), pl_module.device, 0)
        with evaluating(pl_module):
            views = pl_module.views(batch)
            first = Views(**{name: part[:count] for name, part in vars(views).items()})
            reconstructed = pl_module.reconstruction(first)
        if reconstructed is None:
            return None
        undo = pl_module.views.standardize.undo
        shown = (first.images, first.masked, reconstructed)
        return *(undo(images.float()) for images in shown), first.masks


class CurvePicture(L.Callback):
    """Write ``curves.png`` from the CSV log: losses and scores, once an epoch.

    That of an epoch is drawn when the next one begins, or the training ends: by then its scores are
    logged, whichever callback logs them.

    Args:
        scores: what the names of the scores begin with, before the ``/``.
        title: title of the panel of scores.
    """

    def __init__(self, *, scores: str = "knn", title: str = "kNN accuracy of the backbone") -> None:
        self.scores = scores
        self.title = title

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.draw(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.draw(trainer)

    @rank_zero_only
    def draw(self, trainer: L.Trainer) -> None:
        for logger in trainer.loggers:
            logger.save()
        run_dir = Path(trainer.default_root_dir)
        series = read_metrics(run_dir)
        if series:
            figure = curve_figure(series, scores_of=self.scores, title=self.title)
            save_figure(figure, run_dir / "curves.png")
