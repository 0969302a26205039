"""Lightning checkpoints of ours, opened without running what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cmid.export.weight_files import read_file


def open_checkpoint(path: Path) -> dict[str, Any]:
    """Open a checkpoint; tensors are mapped, not read.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no checkpoint, or a truncated one.
    """
    checkpoint = read_file(path)
    if not isinstance(checkpoint.get("state_dict"), Mapping):
        raise ValueError(f"{path} is not a checkpoint of a training run: it has no state_dict")
    return checkpoint
