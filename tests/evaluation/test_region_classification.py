from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor

from cmid.boxes import clip_boxes
from cmid.evaluation.region_classification import (
    ImageRegions,
    classify_regions,
    cut_region,
    region_scores,
)
from tests.evaluation.image_text_model import COLOURS, ColourCLIP, coloured

NAMES = [*COLOURS]


def patchwork(*colours: str) -> ImageRegions:
    """Squares of 16 pixels in a row, each a region of its colour."""
    image = torch.cat([coloured(name, 16, 16) for name in colours], dim=2)
    boxes = [[16.0 * k, 0.0, 16.0 * (k + 1), 16.0] for k in range(len(colours))]
    labels = [NAMES.index(name) for name in colours]
    return ImageRegions(image, torch.tensor(boxes), torch.tensor(labels))


def mean_inside(dense: Tensor, regions: Tensor) -> Tensor:
    """Mean of the cells whose centres lie in a box."""
    rows, columns = dense.shape[-2:]
    pooled = []
    for image, x0, y0, x1, y1 in regions.tolist():
        ys = [r for r in range(rows) if y0 <= (r + 0.5) / rows < y1]
        xs = [c for c in range(columns) if x0 <= (c + 0.5) / columns < x1]
        pooled.append(dense[int(image)][:, ys][:, :, xs].mean(dim=(1, 2)))
    return torch.stack(pooled)


def classify(data: list[ImageRegions], **more: int) -> dict:
    return classify_regions(
        ColourCLIP(), data, names=NAMES, templates=["{}"], pool=mean_inside, **more
    )


def test_crops_and_pooled_patches_find_the_colours() -> None:
    data = [patchwork("red", "green"), patchwork("blue", "red", "green", "blue")]
    for batch_size in (1, 64):
        scores = classify(data, batch_size=batch_size)
        assert scores["crop"].regions == scores["roi"].regions == 6
        assert scores["crop"].accuracy == scores["crop"].mean_average_precision == 1
        assert scores["roi"].accuracy == 1
        assert scores["roi"].per_class == {"red": 1, "green": 1, "blue": 1}


def test_boxes_outside_are_counted_and_others_are_clipped() -> None:
    boxes = torch.tensor([[-5.0, -5, 4, 4], [50, 0, 60, 5], [2, 2, 2, 8], [0, 0, 99, 99]])
    clipped, kept = clip_boxes(boxes, 20, 30)
    assert clipped[0].tolist() == [0, 0, 4, 4]
    assert clipped[3].tolist() == [0, 0, 30, 20]
    assert kept.tolist() == [True, False, False, True]
    image = patchwork("red")
    outside = ImageRegions(image.pixels, image.boxes + 40, image.labels)
    assert classify([image, outside])["crop"].left_out == 1
    with pytest.raises(ValueError, match="1 lie outside"):
        classify([outside])


def test_a_region_holds_all_pixels_that_its_box_touches() -> None:
    pixels = torch.arange(64, dtype=torch.uint8).reshape(1, 8, 8).repeat(3, 1, 1)
    region = cut_region(pixels, (2.7, 1.2, 3.3, 2.5), 2)
    torch.testing.assert_close(region, pixels[:, 1:3, 2:4])


def test_scores_equal_scikit_learn() -> None:
    similarity, labels = torch.randn(60, 4) / 4, torch.randint(0, 3, (60,))
    scores = region_scores(similarity, labels, ["a", "b", "c", "absent"], scale=20)
    probabilities = (20 * similarity).softmax(dim=1).numpy()
    each = [average_precision_score(labels.numpy() == k, probabilities[:, k]) for k in range(3)]
    assert scores.mean_average_precision == pytest.approx(np.mean(each), abs=1e-5)
    right = similarity.argmax(dim=1) == labels
    assert scores.accuracy == pytest.approx(float(right.float().mean()))
    by_class = [float(right[labels == k].float().mean()) for k in range(3)]
    assert scores.mean_class_accuracy == pytest.approx(np.mean(by_class), abs=1e-6)
