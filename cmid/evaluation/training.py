"""Short supervised training of a whole network, the same for any weights that it starts from."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision.transforms import v2
from tqdm import tqdm

from cmid.checkpoints.backbones import Backbone
from cmid.data.checked import CheckedSource
from cmid.data.source import ImageSource
from cmid.evaluation.config import LabelConfig
from cmid.evaluation.features import WholeImages
from cmid.optimization import OptimizerConfig, build_optimizer

_SMOOTHING = 0.1
_WARMUP = 0.1  # share of the steps


class _Augmented(Dataset[tuple[Tensor, int]]):
    """Training images, cropped at random and flipped both ways."""

    def __init__(self, images: WholeImages) -> None:
        self.images = images
        size = (images.size, images.size)
        self.transform = v2.Compose(
            [
                v2.RandomResizedCrop(size, scale=(0.3, 1), antialias=True),
                v2.RandomHorizontalFlip(),
                v2.RandomVerticalFlip(),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels, label = self.images[index]
        return self.transform(pixels), label


def train_and_test(
    backbone: Backbone,
    train: ImageSource,
    test: ImageSource,
    *,
    classes: int,
    size: int,
    settings: LabelConfig,
    seed: int = 0,
    num_workers: int = 0,
    precision: torch.dtype = torch.float32,
    progress: str | None = None,
) -> Tensor:
    """Train a backbone with timm's own classifier, all of it, and classify the test images.

    AdamW with one cycle of the learning rate and label smoothing, ``settings.steps`` steps however
    many images there are, so that a start costs what any other costs.

    Args:
        backbone: its weights are changed.
        train, test: images of ``classes`` classes.
        size: pixels per side.
        seed: random seed of the classifier, of the order and of the crops.
        precision: dtype of autocast, of training and test; float32 switches it off.
        progress: title of a progress bar.

    Returns:
        ``(M,)`` bool: which test images are classified rightly.

    Raises:
        ValueError: images of other bands or values than the backbone's statistics.
    """
    if train.num_bands != backbone.encoder.in_chans:
        raise ValueError(
            f"the images have {train.num_bands} bands, {backbone.name} reads"
            f" {backbone.encoder.in_chans}: give its bands (of rasters --bands; pictures have 3)"
        )
    statistics, device = backbone.standardize.statistics, backbone.standardize.mean.device
    images, others = (WholeImages(CheckedSource(part, statistics), size) for part in (train, test))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network: Any = backbone.encoder.backbone
        network.reset_classifier(classes)
        network.to(device).requires_grad_(True)
        _train(
            network,
            backbone,
            images,
            settings,
            num_workers=num_workers,
            precision=precision,
            progress=progress,
        )
    return _hits(network, backbone, others, num_workers=num_workers, precision=precision)


def _train(
    network: Any,
    backbone: Backbone,
    images: WholeImages,
    settings: LabelConfig,
    *,
    num_workers: int,
    precision: torch.dtype,
    progress: str | None,
) -> None:
    batch = min(settings.train_batch, len(images))
    sampler = RandomSampler(images, num_samples=settings.steps * batch)
    loader: DataLoader[Any] = DataLoader(
        _Augmented(images), batch_size=batch, sampler=sampler, num_workers=num_workers
    )
    chosen = OptimizerConfig(name="adamw", weight_decay=0.05)
    optimizer = build_optimizer(network, chosen, settings.train_lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.train_lr, total_steps=settings.steps, pct_start=_WARMUP
    )
    device = backbone.standardize.mean.device
    scaler = torch.amp.GradScaler(device.type, enabled=precision == torch.float16)
    network.train()
    bar = tqdm(loader, desc=progress, unit="step", disable=progress is None, leave=False)
    for pixels, labels in bar:
        inputs = backbone.standardize(pixels.to(device))
        with _autocast(device, precision):
            logits = network(inputs)
        loss = F.cross_entropy(logits.float(), labels.to(device), label_smoothing=_SMOOTHING)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        schedule.step()


@torch.no_grad()
def _hits(
    network: Any,
    backbone: Backbone,
    images: WholeImages,
    *,
    num_workers: int,
    precision: torch.dtype,
) -> Tensor:
    """``(M,)`` bool: which images a trained network classifies rightly."""
    network.eval()
    device, hits = backbone.standardize.mean.device, []
    loader: DataLoader[Any] = DataLoader(images, batch_size=256, num_workers=num_workers)
    for pixels, labels in loader:
        inputs = backbone.standardize(pixels.to(device))
        with _autocast(device, precision):
            logits = network(inputs)
        hits.append(logits.argmax(dim=1).cpu() == labels)
    return torch.cat(hits)


def _autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    return torch.autocast(device.type, precision, enabled=precision != torch.float32)
