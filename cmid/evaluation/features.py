"""Features of all images of a source."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from cmid.data.checked import CheckedSource
from cmid.data.source import ImageSource
from cmid.models import MaskedEncoder
from cmid.models.evaluating import evaluating
from cmid.processes import gather_rows
from cmid.views.colour import Standardize
from cmid.views.crops import resize


class WholeImages(Dataset[tuple[Tensor, int]]):
    """Whole images of a source, squeezed to a square of ``size`` pixels, with their labels."""

    def __init__(self, source: ImageSource, size: int) -> None:
        self.source = source
        self.size = size

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.source.read(index, min_size=(self.size, self.size))
        return resize(image.pixels, (self.size, self.size)).contiguous(), image.label


class PooledFeatures(nn.Module):
    """The pooled features of an encoder, ``(B, C, H, W)`` to ``(B, D)``."""

    def __init__(self, encoder: MaskedEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        return self.encoder.pooled(images)


@torch.no_grad()
def extract_features(
    model: nn.Module,
    source: ImageSource,
    *,
    standardize: Standardize,
    size: int,
    batch_size: int = 256,
    num_workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    precision: torch.dtype = torch.float32,
    progress: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Run a model over all images of a source, in evaluation mode.

    Args:
        model: maps standardised ``(B, C, size, size)`` images to ``(B, D)`` features.
        source: labelled or not (labels are -1 then).
        standardize: lies on the device to work on.
        size: pixels per side.
        rank, world_size: this process's share; each process gets the features of all.
        precision: dtype of autocast; float32 switches it off.
        progress: title of a progress bar on the first process.

    Returns:
        ``(N, D)`` float32 features and ``(N,)`` int64 labels, in the order of the source, the same
        on every process.

    Raises:
        ValueError: the source and the model differ in their number of bands, or an image holds
            other values than the model was trained with (names the file).
    """
    if source.num_bands != standardize.mean.shape[1]:
        raise ValueError(
            f"the images have {source.num_bands} bands, the backbone reads"
            f" {standardize.mean.shape[1]}: give its bands (of rasters --bands; pictures have 3)"
        )
    images = WholeImages(CheckedSource(source, standardize.statistics), size)
    share = Subset(images, range(rank, len(images), world_size))
    loader: DataLoader[Any] = DataLoader(share, batch_size=batch_size, num_workers=num_workers)
    device = standardize.mean.device
    features, labels = [], []
    bar = tqdm(loader, desc=progress, unit="batch", disable=progress is None or rank > 0)
    with evaluating(model):
        for pixels, label in bar:
            inputs = standardize(pixels.to(device, non_blocking=True))
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                features.append(model(inputs).float())
            labels.append(label.to(device))
    # Ranks took turns: position i of rank r is image i * world_size + r.
    order = gather_rows(torch.tensor(share.indices, device=device)).argsort()
    return gather_rows(torch.cat(features))[order], gather_rows(torch.cat(labels))[order]
