"""Views of images with regions: geometry, truth of texts, what is drawn and counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from torch import Tensor

from cmid.data.source import Image, UnreadableImageError
from cmid.vision_language.data import (
    BoxLimitConfig,
    CaptionTable,
    ImageText,
    ImageTextSource,
    ImageTextView,
    Region,
    SceneTexts,
)

HEIGHT, WIDTH = 160, 240


class Gradient(ImageTextSource):
    """Red is x, green is y: pixels tell where they lie. Decoded at ``1 / step`` of the size."""

    def __init__(
        self, captions: tuple[str, ...], regions: tuple[Region, ...] = (), *, step: int = 1
    ) -> None:
        self.texts, self.regions, self.step = captions, regions, step

    def __len__(self) -> int:
        return 1

    def captions(self, index: int) -> tuple[str, ...]:
        return self.texts

    def read(self, index: int, *, min_size: Any = None, generator: Any = None) -> ImageText:
        y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
        pixels = torch.stack([x, y, torch.zeros_like(x)]).to(torch.uint8)
        pixels = pixels[:, :: self.step, :: self.step]
        return ImageText(Image(pixels, (HEIGHT, WIDTH)), self.texts, self.regions)


def region(*box: float, text: str = "a ship", category: str | None = None) -> Region:
    return Region((*map(float, box),), (text,), category)  # type: ignore[arg-type]


def sample(view: ImageTextView, source: ImageTextSource, seed: int = 0) -> dict[str, Any]:
    return view.sample(source, 0, np.random.default_rng(seed))


def orientation(image: Tensor) -> tuple[int, int, int]:
    """Signs that tell the eight orientations apart: is red x, does x ascend, does y ascend."""
    x, y = image[:2].float()
    if (x[:, -1] - x[:, 0]).abs().mean() > (x[-1] - x[0]).abs().mean():
        return 1, int((x[:, -1] - x[:, 0]).mean().sign()), int((y[-1] - y[0]).mean().sign())
    return 0, int((x[-1] - x[0]).mean().sign()), int((y[:, -1] - y[:, 0]).mean().sign())


def sources(image: Tensor) -> Tensor:
    """Red and green in the middle of the four borders: where they lie in the source."""
    middle = len(image[0]) // 2
    return torch.stack(
        [image[:2, 1, middle], image[:2, -2, middle], image[:2, middle, 1], image[:2, middle, -2]]
    ).float()


@pytest.mark.parametrize("regions", ["random", "annotated"])
@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("seed", range(10))
def test_regions_show_what_lies_in_their_box(regions: Any, step: int, seed: int) -> None:
    boxes = [(90, 40, 130, 100), (60.5, 20.2, 170.1, 150), (100, 70, 128, 98)]
    source = Gradient(("a lake",), tuple(region(*box) for box in boxes), step=step)
    view = ImageTextView(size=64, scale=(0.5, 1.0), regions=regions)
    made = sample(view, source, seed)
    assert made["boxes"].shape == (4 if regions == "random" else 3, 4)
    assert orientation(made["region_images"][0]) == orientation(made["image"])
    for box, image in zip(made["boxes"], made["region_images"], strict=True):
        x0, y0, x1, y1 = box.tolist()
        assert 0 <= x0 < x1 <= 1
        assert 0 <= y0 < y1 <= 1
        # The same points, once looked up in the view and once in the image of the region.
        step_x, step_y = 1.5 * (x1 - x0) / 64, 1.5 * (y1 - y0) / 64
        centre_x, centre_y = x0 + (x1 - x0) * 32.5 / 64, y0 + (y1 - y0) * 32.5 / 64
        points = [
            (centre_x, y0 + step_y),
            (centre_x, y1 - step_y),
            (x0 + step_x, centre_y),
            (x1 - step_x, centre_y),
        ]
        grid = torch.tensor(points) * 2 - 1
        expected = torch.nn.functional.grid_sample(
            made["image"][None].float(),
            grid[None, :, None],
            align_corners=False,
            padding_mode="border",
        )[0, :2, :, 0].T
        # Interpolation of whole grey levels, twice.
        assert (sources(image) - expected).abs().max() <= 2.5 * step


def test_annotated_boxes_lie_where_they_did() -> None:
    box = (100, 50, 140, 110)
    view = ImageTextView(size=80, scale=(0.8, 1.0), regions="annotated")
    for seed in range(8):
        made = sample(view, Gradient(("a lake",), (region(*box),)), seed)
        image = made["region_images"][0].float()
        assert image[0].min() == pytest.approx(box[0], abs=1)
        assert image[0].max() == pytest.approx(box[2] - 1, abs=1)
        assert image[1].min() == pytest.approx(box[1], abs=1)
        assert image[1].max() == pytest.approx(box[3] - 1, abs=1)


def test_all_orientations_occur_and_keep_the_aspect() -> None:
    view = ImageTextView(size=40, scale=(0.3, 1.0))
    seen = Counter()
    for seed in range(100):
        image = sample(view, Gradient(("a lake",)), seed)["image"].float()
        seen[orientation(image)] += 1
        assert image[0].max() - image[0].min() == pytest.approx(
            float(image[1].max() - image[1].min()), abs=2
        )
    assert len(seen) == 8


def test_directions_keep_the_image_as_it_lies() -> None:
    upright = (1, 1, 1)
    view = ImageTextView(size=40, regions="annotated")
    for seed in range(20):
        made = sample(view, Gradient(("a ship in the upper left",)), seed)
        assert orientation(made["image"]) == upright
        told = (region(90, 40, 130, 90), region(90, 40, 130, 90, text="the ship in the north"))
        made = sample(view, Gradient(("a lake",), told), seed)
        assert orientation(made["image"]) == orientation(made["region_images"][1]) == upright
    turned = Gradient(("seen from above", "in the left part"))
    for seed in range(40):
        made = sample(view, turned, seed)
        assert made["text"] == "seen from above" or orientation(made["image"]) == upright


def test_without_training_nothing_is_drawn() -> None:
    regions = (region(100, 50, 140, 110), region(95, 50, 140, 110, text="b"))
    view = ImageTextView(size=HEIGHT, scale=(0.2, 0.4), regions="annotated", max_regions=1)
    for seed in range(3):
        made = sample(view.centred(), Gradient(("first", "second"), regions), seed)
        assert made["text"] == "first"
        assert made["region_texts"] == ["a ship"]
        assert made["left_out"] == {"surplus": 1}
        # The largest centred square, pixel for pixel.
        assert torch.equal(made["image"][0, 0], torch.arange(40, 200).to(torch.uint8))
        assert torch.equal(made["image"][1, :, 0], torch.arange(160).to(torch.uint8))
        assert made["boxes"].tolist() == [pytest.approx([60 / 160, 50 / 160, 100 / 160, 110 / 160])]
    assert view.training


def test_a_region_that_is_the_view_equals_it() -> None:
    view = ImageTextView(size=48, regions="random", region_scale=(1, 1), region_ratio=(1, 1))
    for seed in range(8):
        made = sample(view, Gradient(("a lake",)), seed)
        assert torch.equal(made["boxes"], torch.tensor([[0.0, 0, 1, 1]] * 4))
        assert all(torch.equal(image, made["image"]) for image in made["region_images"])


def test_random_regions_have_the_asked_area_and_ratio() -> None:
    view = ImageTextView(size=160, scale=(1, 1), regions="random")
    boxes = torch.cat([sample(view, Gradient(("a",)), seed)["boxes"] for seed in range(50)])
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    area, ratio = width * height, width / height
    assert 0.28 < area.min() < 0.35
    assert 0.65 < area.max() < 0.72
    assert 0.73 < ratio.min() < 0.8
    assert 1.25 < ratio.max() < 1.36


def test_decoding_may_be_reduced_where_no_region_would_show_it(tmp_path: Path) -> None:
    PillowImage.new("RGB", (1024, 1024)).save(tmp_path / "a.jpg")
    (tmp_path / "t.csv").write_text("filepath,caption\na.jpg,black\n")
    sizes: dict[str, set[int]] = {"none": set(), "random": set(), "annotated": set()}

    class Watched(CaptionTable):
        def read(self, index: int, **options: Any) -> ImageText:
            item = super().read(index, **options)
            sizes[mode].add(item.image.pixels.shape[-1])
            return item

    source = Watched(tmp_path / "t.csv")
    for mode in sizes:
        for seed in range(5):
            sample(ImageTextView(size=100, regions=mode), source, seed)  # type: ignore[arg-type]
    assert sizes["none"] == {128}
    # The shortest side of a region is 0.47 to 0.87 of the view.
    assert sizes["random"] == {256}
    assert sizes["annotated"] == {1024}


def test_unused_boxes_are_counted() -> None:
    regions = (
        region(0, 0, 30, 30, text="at the border"),
        region(20, 0, 100, 30, text="mostly inside"),
        region(100, 50, 104, 54, text="small"),
        region(50, 10, 190, 150, text="large"),
        region(70, 50, 100, 100, text="inside"),
    )
    view = ImageTextView(size=32, regions="annotated", limits=BoxLimitConfig(100, 15000)).centred()
    made = sample(view, Gradient(("a",), regions))
    assert made["region_texts"] == ["mostly inside", "inside"]
    assert made["boxes"][0].tolist() == pytest.approx([0, 0, 60 / 160, 30 / 160])
    assert made["left_out"] == {"outside of the view": 1, "beyond the limits of area": 2}
    assert sample(ImageTextView(size=32), Gradient(("a",), regions))["left_out"] == {}


def test_a_category_and_its_own_caption_are_both_drawn() -> None:
    prompts = ("an image of ship", "ship seen from above", "a ship, say")
    ship = Region(
        (90.0, 40.0, 150.0, 90.0), (*prompts, "the only ship"), "ship", ("the only ship",)
    )
    view = ImageTextView(size=32, regions="annotated")
    seen = Counter()
    for seed in range(200):
        made = sample(view, Gradient(("a",), (ship,)), seed)
        (text,), (key,) = made["region_texts"], made["region_keys"]
        assert key == ("the only ship" if text == "the only ship" else "ship")
        seen[text] += 1
    assert seen.keys() == set(ship.texts)
    assert 70 < seen["the only ship"] < 130


def test_the_kind_of_a_regions_text_can_be_chosen() -> None:
    own = "the largest ship"
    both = Region((60, 10, 110, 60), ("an image of a ship", own), "ship", (own,))
    named = region(60, 70, 110, 120, text="an image of a plane", category="plane")
    described = Region((120, 10, 170, 60), ("a wide river",), None, ("a wide river",))
    source = Gradient(("a scene",), (both, named, described))
    drawn: dict[str, Any] = {}
    for kind in ("category", "caption"):
        view = ImageTextView(size=16, regions="annotated", region_text=kind, training=False)  # type: ignore[arg-type]
        drawn[kind] = sample(view, source)
        again = ImageTextView(size=16, scale=(1, 1), regions="annotated", region_text=kind)  # type: ignore[arg-type]
        seen = {text for seed in range(20) for text in sample(again, source, seed)["region_texts"]}
        assert seen <= {*drawn[kind]["region_texts"]}
    category, caption = drawn["category"], drawn["caption"]
    assert category["region_texts"] == ["an image of a ship", "an image of a plane"]
    assert category["region_keys"] == ["ship", "plane"]
    assert category["left_out"] == {"without a category": 1}
    assert caption["region_texts"] == caption["region_keys"] == [own, "a wide river"]
    assert caption["left_out"] == {"without a caption": 1}
    with pytest.raises(ValueError, match="'categories' is not both, category or caption"):
        ImageTextView(region_text="categories")  # type: ignore[arg-type]


def test_wide_pixels_and_impossible_options_are_refused() -> None:
    class Wide(Gradient):
        def read(self, index: int, *, min_size: Any = None, generator: Any = None) -> ImageText:
            return ImageText(Image(torch.zeros(3, 8, 8), (8, 8), name="wide.tif"), ("a",))

    with pytest.raises(UnreadableImageError, match=r"wide\.tif has 3 bands of float32: convert"):
        sample(ImageTextView(size=8), Wide(("a",)))
    for options in ({"size": 0}, {"scale": (0.5, 1.2)}, {"flip": 2}, {"min_visible": 0}):
        with pytest.raises(ValueError, match=f"view .*{next(iter(options))}"):
            ImageTextView(**options)
    with pytest.raises(ValueError, match="has no text"):
        Region((0.0, 0.0, 1.0, 1.0), (), None)


def test_scenes_have_texts_that_fit() -> None:
    source = SceneTexts(20, size=64, seed=4)
    categories, own = Counter(), 0
    for index in range(20):
        item = source[index]
        assert item.captions == source.captions(index)
        for part in item.regions:
            own += len(part.captions)
            assert part.category is not None or part.texts == part.captions
            assert part.category is None or part.category in part.texts[0]
            categories[part.category] += 1
    assert own > 20
    assert {"building", "vehicle", None} <= set(categories)
    with pytest.raises(IndexError):
        source[20]
