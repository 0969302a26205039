from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")

from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from benchmarks.openmmlab.pictures import read_picture
from benchmarks.segmentation.painting import PaintPredictions
from cmid.data.writing import write_image
from cmid.visualization.panels import IGNORED_COLOUR
from cmid.visualization.panels import label_panels as paint

CLASSES, PALETTE = ("tree", "car"), [[0, 200, 0], [250, 250, 0]]


def test_panels_hold_image_truth_and_prediction() -> None:
    image = np.full((40, 50, 3), 99, np.uint8)
    truth, prediction = np.zeros((40, 50), np.uint8), np.ones((40, 50), np.uint8)
    truth[:20] = 255
    picture = np.array(paint(image, truth, prediction, classes=CLASSES, palette=PALETTE))
    scale, gap, line = 7, 8, 22  # enlarged to 320 pixels or more
    assert picture.shape[1] == 3 * (50 * scale + gap) + gap
    for panel, upper, lower in (
        (0, (99, 99, 99), (99, 99, 99)),
        (1, IGNORED_COLOUR, PALETTE[0]),
        (2, PALETTE[1], PALETTE[1]),
    ):
        left = gap + panel * (50 * scale + gap)
        assert (picture[line : line + 20 * scale, left : left + 50 * scale] == upper).all()
        assert (picture[line + 20 * scale : line + 280, left : left + 350] == lower).all()
    legend = picture[line + 280 :].reshape(-1, 3).tolist()
    assert all([*colour] in legend for colour in (*PALETTE, IGNORED_COLOUR))


def test_without_truth_there_are_two_panels_and_large_images_shrink() -> None:
    image = np.zeros((2000, 1000, 3), np.uint8)
    labels = np.zeros((2000, 1000), np.uint8)
    picture = paint(image, None, labels, classes=CLASSES, palette=PALETTE)
    assert picture.size[0] == 2 * (384 + 8) + 8
    assert 768 < picture.size[1] < 900


@pytest.mark.parametrize(("bands", "shown"), [(4, (1, 2, 3)), (6, (5, 4, 2)), (2, (1, 2, 3))])
def test_rasters_are_shown_by_three_bands(
    tmp_path: Path, bands: int, shown: tuple[int, ...]
) -> None:
    values = np.random.default_rng(0).integers(0, 9000, (20, 20, bands)).astype(np.uint16)
    write_image(tmp_path / "a.tif", values)
    picture = read_picture(str(tmp_path / "a.tif"), bands=shown)
    assert picture.dtype == np.uint8
    assert picture.shape == (20, 20, 3)
    wanted = values[..., [b - 1 for b in shown]] if bands > 3 else values[..., [0, 0, 0]]
    correlation = np.corrcoef(picture.ravel(), wanted.ravel())[0, 1]
    assert correlation > 0.99


def run(hook: PaintPredictions, tmp_path: Path, *paths: Path) -> None:
    meta = {"classes": CLASSES, "palette": PALETTE}
    runner = SimpleNamespace(visualizer=SimpleNamespace(dataset_meta=meta), work_dir=str(tmp_path))
    samples = []
    for path in paths:
        write_image(path, np.zeros((8, 8, 3), np.uint8))
        sample = SegDataSample(metainfo={"img_path": str(path)})
        sample.pred_sem_seg = PixelData(data=torch.zeros(1, 8, 8, dtype=torch.int64))
        samples.append(sample)
    hook.after_test_iter(runner, 0, None, samples)


def test_pictures_of_equal_names_do_not_replace_each_other(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    paths = [folder / "x/1.png", folder / "y/1.png", folder / "x/2.png", folder / "3.png"]
    run(PaintPredictions(draw=True, test_out_dir="out"), tmp_path, *paths)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["1.png", "2.png", "3.png", "y_1.png"]
    with Image.open(tmp_path / "out/y_1.png") as picture:
        assert picture.mode == "RGB"
    run(PaintPredictions(draw=True, test_out_dir="some", interval=2), tmp_path, *paths)
    assert len(list((tmp_path / "some").iterdir())) == 2
    run(PaintPredictions(test_out_dir="none"), tmp_path, *paths)
    assert not (tmp_path / "none").exists()
