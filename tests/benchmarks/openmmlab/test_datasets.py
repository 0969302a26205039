"""Labelled images of our sources in OpenMMLab: their values mean what the preprocessor assumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

pytest.importorskip("mmengine")

from benchmarks.openmmlab import LabelledImages
from cmid.data.channel_statistics import ChannelStatistics
from cmid.data.values import ImageValuesError


def test_images_of_another_kind_than_the_statistics_are_refused(tmp_path: Path) -> None:
    for number in range(4):
        folder = tmp_path / "ab"[number % 2]
        folder.mkdir(exist_ok=True)
        pixels = np.full((8, 8), 1000 + number, dtype=np.uint16)
        PillowImage.fromarray(pixels).save(folder / f"{number}.png")
    eight_bit = LabelledImages(str(tmp_path), "train", train_share=0.5)
    with pytest.raises(ImageValuesError, match=r"\d\.png holds uint16 values.*are of uint8"):
        eight_bit.prepare_data(0)
    ones = (1.0, 1.0, 1.0)
    wide = ChannelStatistics(ones, ones, ones, (9.0,) * 3, dtype="float32", kind="uint16")
    images = LabelledImages(str(tmp_path), "train", train_share=0.5, statistics=wide.to_plain())
    assert images.prepare_data(0)["img"].shape == (8, 8, 3)
