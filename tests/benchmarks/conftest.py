"""What all tests of benchmarks share."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cmid.data.scenes import generate_scene


@pytest.fixture(autouse=True)
def _unformatted_configurations(monkeypatch: pytest.MonkeyPatch) -> None:
    """mmengine writes a configuration several times a run, and beautifies it for seconds."""
    if importlib.util.find_spec("yapf"):
        monkeypatch.setattr("yapf.yapflib.yapf_api.FormatCode", lambda text, **_: (text, True))


@pytest.fixture(autouse=True)
def _logs_end_with_their_test() -> Iterator[None]:
    """mmengine's loggers outlive a run; opened again, a log whose folder is gone is an error."""
    yield
    logged = sys.modules.get("mmengine.logging")
    for logger in logged.MMLogger._instance_dict.values() if logged else ():
        for handler in [each for each in logger.handlers if isinstance(each, logging.FileHandler)]:
            logger.removeHandler(handler)
            handler.close()
    shown = sys.modules.get("mmengine.visualization")
    kinds = [shown.Visualizer, *shown.Visualizer.__subclasses__()] if shown else []
    for kind in kinds:  # found again by a run of the same name in the same second
        kind._instance_dict.clear()


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
