"""Pictures of rasters of any bands."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tests.integration import in_process

rasterio = pytest.importorskip("rasterio")

from cmid.export import to_timm  # noqa: E402
from cmid.models import MaskedEncoder  # noqa: E402


@pytest.fixture
def five(tmp_path: Path) -> tuple[Path, Path]:
    """A backbone of five bands, and a folder of rasters."""
    statistics = {"mean": [0.5] * 5, "std": [0.2] * 5}
    encoder = MaskedEncoder("test_resnet", in_chans=5, img_size=32)
    (tmp_path / "tiles").mkdir()
    shape = {"driver": "GTiff", "dtype": "uint8", "count": 6, "height": 32, "width": 32}
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (6, 32, 32), dtype=np.uint8)
        with rasterio.open(tmp_path / f"tiles/{number}.tif", "w", **shape) as file:
            file.write(pixels)
    return to_timm(encoder, tmp_path / "five", statistics=statistics), tmp_path / "tiles"


def test_rasters_are_drawn_with_the_bands_that_are_asked_for(five, tmp_path):
    backbone, tiles = five
    bands = ["--bands", "1", "2", "3", "4", "6", "--size", "128"]
    for images in (tiles, tiles / "1.tif"):
        out = tmp_path / f"{images.stem}.png"
        done = in_process.run("tools/visualize.py", "pca", backbone, images, *bands, "--out", out)
        assert not done.status, done.err
        assert out.is_file()


@pytest.mark.parametrize(
    ("bands", "said"),
    [
        ([], "is read as 3 bands, .* reads 5: choose those of rasters with --bands"),
        (["--bands", "all"], "has 6 bands, .* reads 5"),
        (["--bands", "9"], "0.tif has 6 bands, counted from 1; bands asks for 9"),
    ],
)
def test_other_bands_than_the_backbone_s_are_one_line(five, tmp_path, bands, said):
    backbone, tiles = five
    command = ["tools/visualize.py", "pca", backbone, tiles, *bands, "--out", tmp_path / "a.png"]
    done = in_process.run(*command)
    assert done.status == 1
    assert re.search(said, done.err.splitlines()[-1])
