"""What all tests of benchmarks share."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cmid.data.scenes import generate_scene


@pytest.fixture(autouse=True)
def _unformatted_configurations(monkeypatch: pytest.MonkeyPatch) -> None:
    """mmengine writes a configuration several times a run, and beautifies it for seconds."""
    if importlib.util.find_spec("yapf"):
        monkeypatch.setattr("yapf.yapflib.yapf_api.FormatCode", lambda text, **_: (text, True))


@pytest.fixture(autouse=True)
def _logs_end_with_their_test() -> Iterator[None]:
    """mmengine's loggers and visualizers outlive a run, and fail where its folder is gone.

    A run of the same configuration in the same second has the same name, and would find them.
    """
    yield
    logged = sys.modules.get("mmengine.logging")
    for logger in logged.MMLogger._instance_dict.values() if logged else ():
        for handler in [each for each in logger.handlers if isinstance(each, logging.FileHandler)]:
            logger.removeHandler(handler)
            handler.close()
    shown = sys.modules.get("mmengine.visualization")
    for kind in _with_subclasses(shown.Visualizer) if shown else ():
        kind._instance_dict.clear()


def _with_subclasses(kind: Any) -> Iterator[Any]:
    yield kind
    for each in kind.__subclasses__():
        yield from _with_subclasses(each)


@pytest.fixture
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A georeferenced picture of as many pixels a side as the module's SIDE says."""
    import rasterio

    side, path = request.module.SIDE, tmp_path / "scene.tif"
    profile = {"driver": "GTiff", "count": 3, "height": side, "width": side, "dtype": "uint8"}
    transform = rasterio.transform.from_origin(5e5, 5e6, 0.5, 0.5)
    with rasterio.open(path, "w", crs="EPSG:32633", transform=transform, **profile) as file:
        file.write(generate_scene(0, size=side).image.numpy())
    return path
