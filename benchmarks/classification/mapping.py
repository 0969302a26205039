"""Trained classifiers as models of maps: a class for every tile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cmid.checkpoints.weight_files import open_weights
from cmid.run_folder import checkpoints_in
from cmid.views.crops import resize


@dataclass(frozen=True, eq=False)
class TileClassifier:
    """Scores of classes for a whole tile, see `cmid.inference.streaming.DenseModel`.

    Attributes:
        network: ``(B, C, seen, seen)`` stored values to ``(B, K)`` logits.
        classes: K names.
        size: side of a tile, and so of a cell of the map. seen: what the network makes of it, the
            size of its training.
        fill: the stored value of each band that missing pixels take.
    """

    network: Callable[[Tensor], Tensor]
    classes: tuple[str, ...]
    size: int
    seen: int
    fill: Sequence[float]

    @property
    def stride(self) -> int:
        return self.size

    cell = stride

    @property
    def channels(self) -> int:
        return len(self.classes)

    def __call__(self, pixels: Tensor) -> Tensor:
        seen = torch.stack([resize(tile, (self.seen, self.seen)) for tile in pixels])
        return self.network(seen)[..., None, None]


def fine_tuned(model: str) -> Path | None:
    """The checkpoint of a run of fine-tuning that a path stands for; None for other things.

    Args:
        model: a checkpoint, or the folder of a run, for its last one.

    Raises:
        ValueError: a truncated file.
    """
    path = Path(model)
    if path.is_dir() and not (path / "config.json").exists():
        path = next(iter(checkpoints_in(path)), path)
    if path.suffix != ".ckpt" or not path.is_file():
        return None
    return path if "model.classes" in _experiment(open_weights(path)) else None


def open_fine_tuned(
    path: Path, *, backbone: str | None, size: int | None, device: str
) -> TileClassifier:
    """A classifier that tools/finetune.py trained.

    Args:
        path: its checkpoint.
        backbone: where the backbone lies that it began with; default: where it lay then.
        size: side of the tiles; default: that of the images as it read them.

    Raises:
        FileNotFoundError: the backbone is gone.
    """
    from benchmarks.classification.module import FineTuning

    content = open_weights(path)
    known, weights = _experiment(content), content["state_dict"]
    trained = int(known["data.size"])
    name = backbone or known["model.backbone"]
    try:
        module = FineTuning(
            name,
            classes=known["model.classes"],
            img_size=trained,
            in_chans=next(w.shape[1] for w in weights.values() if w.ndim == 4),  # the stem
        )
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path} was trained from {name}, which is not there: tell with --backbone where it is"
        ) from error
    module.load_state_dict(weights)
    module.eval().to(device)
    return TileClassifier(
        lambda pixels: module(pixels.to(device)),
        module.classes,
        size or trained,
        trained,
        module.standardize.stored_moments()[0],
    )


def open_mmpretrain(
    config: Any, checkpoint: Path, *, size: int | None, device: str
) -> TileClassifier:
    """A classifier that tools/train.py trained.

    Args:
        config: as trained. checkpoint: its ``.pth``.
        size: side of the tiles; default: that of the images as it read them.

    Raises:
        FileNotFoundError: no checkpoint.
        ValueError: a checkpoint that does not name its classes, or no size anywhere.
    """
    from benchmarks.openmmlab.trained import image_size, load_trained

    seen = image_size(config) or size
    if seen is None:
        raise ValueError(f"{config.filename} reads images of any size: say with --tile of which")
    trained = load_trained(config, checkpoint, device)
    return TileClassifier(
        lambda pixels: trained.model(trained.standardize(pixels)),
        trained.classes,
        size or seen,
        seen,
        trained.fill,
    )


def _experiment(content: dict[str, Any]) -> dict[str, Any]:
    from cmid.resume import RECORD  # Lightning: seconds

    return (content.get(RECORD) or {}).get("experiment") or {}
