"""Generated scenes with their masks, on disk as mmsegmentation lays them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cmid.data.scenes.folders import channels_last, write_folders


def write_scenes(out: Path, **options: Any) -> None:
    """Write ``img_dir/{train,val}`` and ``ann_dir/{train,val}``.

    Masks are PNG of indices into `cmid.data.scenes.SEMANTIC_CLASSES`; no pixel is ignored.

    Args:
        out: folder.
        options: ``train``, ``val``, ``size``, ``seed`` and ``bands`` of `write_folders`, whose
            errors are raised.
    """
    layout = {
        "img_dir/{part}/{name}{ending}": lambda scene: channels_last(scene.image),
        "ann_dir/{part}/{name}.png": lambda scene: scene.semantic_mask,
    }
    write_folders(out, layout, within=("img_dir", "ann_dir"), **options)
