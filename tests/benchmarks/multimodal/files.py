"""Small images and text files for suites."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image


def pictures(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10), (90, 60, 30)).save(folder / name)


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
