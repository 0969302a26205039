from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.classification import MulticlassJaccardIndex

from cmid.data.windows import window_starts
from cmid.evaluation.image_text import embed_classes
from cmid.evaluation.open_vocabulary import (
    SlidingConfig,
    Vocabulary,
    class_probabilities,
    label_pixels,
    resize_bilinear,
    resized_rows,
    sliding_similarities,
    working_size,
)
from cmid.evaluation.segmentation_scores import (
    class_iou,
    confusion_matrix,
    evaluate_segmentation,
    mean_iou,
    threshold_confusions,
    tune_threshold,
)
from cmid.views.crops import resize
from tests.evaluation.image_text_model import ColourCLIP, coloured

LINES = ("red,crimson", "green", "blue,sky,sea")


def queries(model: ColourCLIP, vocabulary: Vocabulary) -> Tensor:
    return embed_classes(model, vocabulary.queries, templates=["{}"])


def striped(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Three columns of colours, and their mask with an ignored row."""
    cuts = width // 3, 2 * width // 3
    image, mask = coloured("red", height, width), torch.zeros(height, width, dtype=torch.uint8)
    image[:, :, cuts[0] :] = coloured("green", height, width - cuts[0])
    image[:, :, cuts[1] :] = coloured("blue", height, width - cuts[1])
    mask[:, cuts[0] :], mask[:, cuts[1] :], mask[0] = 1, 2, 255
    return image, mask


def test_a_vocabulary_keeps_synonyms_together() -> None:
    vocabulary = Vocabulary.parse(["road, parking lot", "building", "clutter,background"])
    assert vocabulary.classes == ("road", "building", "clutter")
    assert vocabulary.queries[:2] == ("road", "parking lot")
    assert vocabulary.members == (0, 0, 1, 2, 2)
    assert vocabulary.background is None
    assert Vocabulary.parse(LINES, background="sky").background == 2
    for lines, background, message in (
        (["road"], None, "two or more"),
        (["road", "a,,b"], None, "two or more"),
        (["road", "tree,road"], None, "'road' occurs twice"),
        (["road", "tree"], "sea", "'sea' is not in"),
    ):
        with pytest.raises(ValueError, match=message):
            Vocabulary.parse(lines, background=background)


@pytest.mark.parametrize(
    ("length", "window", "stride"), [(16, 16, 8), (448, 224, 112), (45, 16, 7)]
)
def test_windows_cover_every_pixel_once_or_more(length: int, window: int, stride: int) -> None:
    starts = window_starts(length, window, stride)
    covered = np.zeros(length, dtype=int)
    for start in starts:
        covered[start : start + window] += 1
    assert covered.min() >= 1
    assert len(covered) == length
    assert max(np.diff(starts), default=0) <= stride
    with pytest.raises(ValueError, match="do not cover"):
        window_starts(10, 16, 8)


def test_images_of_any_shape_get_a_size_that_windows_fit_in() -> None:
    assert working_size(512, 512, long_side=448, smallest=224) == (448, 448)
    assert working_size(600, 400, long_side=448, smallest=224) == (448, 299)
    assert working_size(100, 1000, long_side=448, smallest=224) == (224, 2240)
    assert working_size(10, 10, long_side=32, smallest=16) == (32, 32)


def reference(
    model: ColourCLIP, pixels: Tensor, vocabulary: Vocabulary, settings: SlidingConfig
) -> Tensor:
    """Probabilities, one window and one query at a time."""
    text = queries(model, vocabulary)
    size, (h, w) = model.size, pixels.shape[1:]
    assert settings.long_side
    height, width = working_size(h, w, long_side=settings.long_side, smallest=size)
    image = resize(pixels, (height, width))
    tops, lefts = (window_starts(n, size, settings.stride or size // 2) for n in (height, width))
    total, count = torch.zeros(len(text), height, width), torch.zeros(height, width)
    for y, x in itertools.product(tops, lefts):
        with torch.no_grad():
            pooled, dense = model.encode_images(image[None, :, y : y + size, x : x + size])
        for number, query in enumerate(text):
            cells = torch.cosine_similarity(dense[0], query[:, None, None], dim=0)
            cells = cells - settings.cls_weight * torch.cosine_similarity(pooled[0], query, dim=0)
            logits = (settings.scale or model.logit_scale.exp()) * cells.detach()
            full = F.interpolate(
                logits[None, None], (size, size), mode="bilinear", align_corners=False
            )
            total[number, y : y + size, x : x + size] += full[0, 0]
        count[y : y + size, x : x + size] += 1
    logits = F.interpolate((total / count)[None], (h, w), mode="bilinear", align_corners=False)[0]
    probabilities = logits.softmax(dim=0).detach()
    classes = []
    for number in range(len(vocabulary.classes)):
        own = [p for p, k in zip(probabilities, vocabulary.members, strict=True) if k == number]
        classes.append(torch.stack(own).max(dim=0).values)
    return torch.stack(classes)


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((40, 40), SlidingConfig(long_side=32)),
        ((50, 23), SlidingConfig(long_side=45, stride=7, cls_weight=0.3, batch_size=3)),
        ((9, 7), SlidingConfig(long_side=16, scale=None)),  # smaller than a window
        ((12, 90), SlidingConfig(long_side=16, batch_size=5)),  # the short side decides
    ],
)
def test_probabilities_equal_brute_force(shape: tuple[int, int], settings: SlidingConfig) -> None:
    model, vocabulary = ColourCLIP().eval(), Vocabulary.parse(LINES)
    pixels, _ = striped(*shape)
    found = class_probabilities(
        model, pixels, queries=queries(model, vocabulary), vocabulary=vocabulary, settings=settings
    )
    assert found.shape == (3, *shape)
    torch.testing.assert_close(
        found, reference(model, pixels, vocabulary, settings), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("size", [(7, 11), (40, 25), (20, 30), (61, 8)])
@pytest.mark.parametrize("parts", [[20], [1, 2, 3, 13, 1], [19, 1]])
def test_an_image_is_resized_in_parts(size: tuple[int, int], parts: list[int]) -> None:
    image = torch.randn(4, 20, 30)
    rows = [*resized_rows(image.split(parts, dim=1), 20, size)]
    wanted = F.interpolate(image[None], size, mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(torch.cat(rows, dim=1), wanted)


def test_windows_that_leave_gaps_are_refused() -> None:
    model, vocabulary = ColourCLIP(), Vocabulary.parse(LINES)
    with pytest.raises(ValueError, match="stride 17 leave gaps"):
        sliding_similarities(
            model, coloured("red"), queries(model, vocabulary), SlidingConfig(stride=17)
        )


def nearest_four(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear without antialiasing by its formula: weights of the four pixels around a centre."""
    values = pixels.numpy().astype(np.float64)
    for axis, length in ((1, size[0]), (2, size[1])):
        stored = values.shape[axis]
        place = (np.arange(length) + 0.5) * stored / length - 0.5
        first = np.floor(place).astype(int)
        share = (place - first).reshape([-1 if k == axis else 1 for k in range(3)])
        low, high = (values.take((first + k).clip(0, stored - 1), axis) for k in (0, 1))
        values = (1 - share) * low + share * high
    return torch.from_numpy(values)


@pytest.mark.parametrize("size", [(7, 11), (40, 25), (20, 30), (61, 61)])
def test_published_resizing_takes_the_four_nearest_pixels(size: tuple[int, int]) -> None:
    pixels = torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8)
    found = resize_bilinear(pixels, size)
    assert found.dtype == torch.uint8
    assert float((found - nearest_four(pixels, size)).abs().max()) <= 0.5 + 1e-3
    if size == (7, 11):  # a shrunk image aliases; ours does not
        assert float((found.float() - resize(pixels, size).float()).abs().mean()) > 10


def test_the_way_to_resize_an_image_is_an_option() -> None:
    model, vocabulary = ColourCLIP().eval(), Vocabulary.parse(LINES)
    pixels = torch.randint(0, 256, (3, 48, 48), dtype=torch.uint8)
    text = queries(model, vocabulary)
    published = SlidingConfig(long_side=16, antialias=False)
    found = sliding_similarities(model, pixels, text, published)
    small = nearest_four(pixels, (16, 16)).round().to(torch.uint8)
    torch.testing.assert_close(
        found,
        sliding_similarities(model, small, text, SlidingConfig(long_side=16)),
        atol=0.02,
        rtol=0,
    )
    default = sliding_similarities(model, pixels, text, SlidingConfig(long_side=16))
    assert float((found - default).abs().max()) > 0.2


def test_a_threshold_sends_unsure_pixels_to_the_background() -> None:
    probabilities = torch.tensor([[0.5, 0.34, 0.1], [0.3, 0.33, 0.8], [0.2, 0.33, 0.1]])[:, None]
    assert label_pixels(probabilities).tolist() == [[0, 0, 1]]
    assert label_pixels(probabilities, background=2, threshold=0.4).tolist() == [[0, 2, 1]]
    with pytest.raises(ValueError, match="needs a background"):
        label_pixels(probabilities, threshold=0.4)


def test_iou_equals_torchmetrics_and_leaves_out_absent_classes() -> None:
    truth, labels = torch.randint(0, 4, (30, 30)), torch.randint(0, 4, (30, 30))
    truth[:3] = 255
    confusion = confusion_matrix(labels, truth, 5)
    metric = MulticlassJaccardIndex(5, average="none", ignore_index=255)
    expected = metric(labels[None], truth[None])
    torch.testing.assert_close(class_iou(confusion)[:4].float(), expected[:4])
    assert class_iou(confusion)[4].isnan()
    assert float(mean_iou(confusion)) == pytest.approx(float(expected[:4].mean()))


def test_confusions_of_all_thresholds_equal_one_at_a_time() -> None:
    probabilities, truth = torch.randn(4, 30, 40).softmax(dim=0), torch.randint(0, 4, (30, 40))
    truth[:2], probabilities[:, 5, 5] = 255, 0.25
    thresholds = [0.0, 0.25, 0.5, 0.9]
    found = threshold_confusions(probabilities, truth, background=2, thresholds=thresholds)
    for confusion, threshold in zip(found, thresholds, strict=True):
        labels = label_pixels(probabilities, background=2, threshold=threshold)
        assert torch.equal(confusion, confusion_matrix(labels, truth, 4))


def test_striped_images_are_segmented_and_painted() -> None:
    model, vocabulary = ColourCLIP(), Vocabulary.parse(LINES)
    painted: list[int] = []

    def paint(index: int, pixels: Tensor, mask: Tensor, labels: Tensor) -> None:
        assert pixels.shape[1:] == mask.shape == labels.shape
        painted.append(index)

    scores = evaluate_segmentation(
        model,
        [striped(48, 60), striped(60, 48)],
        queries=queries(model, vocabulary),
        vocabulary=vocabulary,
        paint=paint,
    )
    assert scores.mean_iou > 0.85
    assert scores.accuracy > 0.9
    assert [*scores.per_class] == ["red", "green", "blue"]
    assert scores.tuned is None
    assert painted == [0, 1]


def test_a_threshold_is_tuned_on_one_half_and_scored_on_the_other() -> None:
    def matrix(hits: int) -> Tensor:
        return torch.tensor([[hits, 10 - hits], [10 - hits, hits]])

    # The second threshold is best on images 0 and 2, the third on images 1 and 3.
    confusions = torch.stack(
        [
            torch.stack([matrix(6), matrix(9), matrix(7)]),
            torch.stack([matrix(5), matrix(6), matrix(9)]),
        ]
        * 2
    )
    tuned = tune_threshold(confusions, [0.0, 0.2, 0.4])
    assert tuned.threshold == 0.2
    assert tuned.tuned == pytest.approx(6 / 14)
    assert tuned.untuned == pytest.approx(5 / 15)
    assert (tuned.tuning_images, tuned.test_images) == (2, 2)


def test_both_results_stand_side_by_side() -> None:
    model = ColourCLIP()
    vocabulary = Vocabulary.parse(["red", "green", "blue"], background="blue")
    data = [striped(32, 30) for _ in range(3)]
    options = {"queries": queries(model, vocabulary), "vocabulary": vocabulary}
    scores = evaluate_segmentation(model, data, **options)
    assert scores.tuned is not None
    only = evaluate_segmentation(model, data[1:2], **options)
    assert scores.tuned.untuned == pytest.approx(only.mean_iou)
    assert only.tuned is None
    again = evaluate_segmentation(model, data, threshold=scores.tuned.threshold, **options)
    assert again.threshold == scores.tuned.threshold


def test_bad_data_is_refused() -> None:
    model, vocabulary = ColourCLIP(), Vocabulary.parse(LINES)
    options = {"queries": queries(model, vocabulary), "vocabulary": vocabulary}
    image, mask = striped(20, 20)
    with pytest.raises(ValueError, match="no image"):
        evaluate_segmentation(model, [], **options)
    with pytest.raises(ValueError, match="image 0 has class 7 of 3 names"):
        evaluate_segmentation(model, [(image, torch.full_like(mask, 7))], **options)
    with pytest.raises(ValueError, match="needs a background"):
        evaluate_segmentation(model, [(image, mask)], threshold=0.5, **options)
