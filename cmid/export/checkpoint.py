"""Lightning checkpoints of ours, opened without running what they hold."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch


def open_checkpoint(path: Path) -> dict[str, Any]:
    """Open a checkpoint; tensors are mapped, not read.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no checkpoint, or a truncated one.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}")
    try:
        # Memory-mapped: the optimizer's state, twice the size of the weights, is never read.
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{path} is not a checkpoint, or is truncated: {reason}") from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise ValueError(f"{path} is not a checkpoint of a training run: it has no state_dict")
    return checkpoint
