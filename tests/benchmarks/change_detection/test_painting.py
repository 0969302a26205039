from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")

from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from benchmarks.change_detection.painting import COLOURS, PaintChanges, errors, paint
from benchmarks.openmmlab.pictures import displayed


def test_errors_are_told_apart() -> None:
    truth = np.array([[0, 0, 1, 1, 255, 255]])
    prediction = np.array([[0, 1, 0, 1, 0, 1]])
    names = [
        *("true negative", "false positive", "false negative", "true positive"),
        *("not labelled", "not labelled"),
    ]
    assert errors(truth, prediction)[0].tolist() == [list(COLOURS[name]) for name in names]


def test_bands_are_shown_in_order_and_stretched() -> None:
    date = np.arange(4 * 100, dtype=np.uint8).reshape(4, 10, 10) // 4 + 60
    np.testing.assert_array_equal(displayed(date, bands=(3, 2, 1))[..., 0], date[2])
    np.testing.assert_array_equal(displayed(date[:2], bands=(3, 2, 1))[..., 2], date[0])
    for stretched in (
        displayed(date, bands=(3, 2, 1), stretch=True),
        displayed(date.astype(np.float32) * 1e4, bands=(3, 2, 1), stretch=False),
    ):
        assert stretched.dtype == np.uint8
        assert (stretched.min(), stretched.max()) == (0, 255)


@pytest.mark.parametrize("shape", [(8, 12), (300, 200), (1000, 40)])
def test_panels_have_one_size_of_a_screen(shape: tuple[int, int]) -> None:
    dates = [np.full((*shape, 3), value, dtype=np.uint8) for value in (10, 20)]
    truth = np.zeros(shape, dtype=np.uint8)
    picture = paint(*dates, truth=truth, prediction=1 - truth)
    assert 500 < picture.width < 3200
    pixels = np.array(picture)
    for colour in ((10, 10, 10), (20, 20, 20), COLOURS["false positive"]):
        assert (pixels == colour).all(-1).sum() > 20000


def test_the_hook_draws_when_it_is_told_to(tmp_path: Path) -> None:
    runner = SimpleNamespace(work_dir=str(tmp_path))
    outputs = []
    for path in ("one/a.png", "two/a.png", "two/b.png"):
        sample = SegDataSample(metainfo={"img_path": path})
        sample.gt_sem_seg = PixelData(data=torch.zeros(1, 8, 8, dtype=torch.long))
        sample.pred_sem_seg = PixelData(data=torch.ones(1, 8, 8, dtype=torch.long))
        outputs.append(sample)
    inputs = [torch.zeros(6, 8, 8, dtype=torch.uint8) for _ in outputs]
    PaintChanges().after_test_iter(runner, 0, {"inputs": inputs}, outputs)
    assert not list(tmp_path.iterdir())
    hook = PaintChanges(draw=True, test_out_dir="shown")
    hook.after_test_iter(runner, 0, {"inputs": [inputs, inputs]}, outputs)  # augmented twice
    names = ["a.png", "b.png", "two_a.png"]
    assert sorted(p.name for p in (tmp_path / "shown").iterdir()) == names
    assert PillowImage.open(tmp_path / "shown" / "a.png").mode == "RGB"
    thinned = PaintChanges(draw=True, test_out_dir=str(tmp_path / "thin"), interval=2)
    thinned.after_test_iter(runner, 0, {"inputs": inputs}, outputs)
    assert len(list((tmp_path / "thin").iterdir())) == 2
