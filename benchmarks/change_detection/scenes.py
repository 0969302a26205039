"""Generated scenes at two dates with their changed pixels, on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmid.data.scenes import Scene
from cmid.data.scenes.folders import channels_last, write_folders


def write_scenes(out: Path, **options: Any) -> None:
    """Write ``train/{A,B,label}`` and ``val/{A,B,label}``.

    Labels are PNG of 0, and 255 where the material has changed; season, light and noise do not
    count.

    Args:
        out: folder.
        options: ``train``, ``val``, ``size``, ``seed`` and ``bands`` of `write_folders`, whose
            errors are raised.
    """
    layout = {
        "{part}/A/{name}{ending}": lambda scene: channels_last(scene.image),
        "{part}/B/{name}{ending}": lambda scene: channels_last(scene.image_second),
        "{part}/label/{name}.png": _changed,
    }
    write_folders(out, layout, second_date=True, **options)


def _changed(scene: Scene) -> NDArray[np.uint8]:
    assert scene.change_mask is not None
    return scene.change_mask.astype(np.uint8) * 255
