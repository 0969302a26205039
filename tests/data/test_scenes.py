"""Generated scenes: determinism, annotations that are true, and classes that need structure."""

from __future__ import annotations

import math
import multiprocessing
import pickle
import re
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cmid.boxes import oriented_box
from cmid.data.scenes import (
    INSTANCE_CATEGORIES,
    SCENE_CLASSES,
    SEMANTIC_CLASSES,
    Scene,
    SceneSource,
    contact_sheet,
    generate_scene,
)
from cmid.data.scenes.annotations import SMALLEST_AREA, count_phrase
from cmid.data.scenes.drawing import SUPERSAMPLING, Material

Array = NDArray[np.float32]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [generate_scene(i, seed=3, size=96, num_bands=4, second_date=True) for i in range(120)]


def _checksum(index: int) -> int:
    scene = generate_scene(index, seed=5, second_date=True)
    assert scene.image_second is not None
    return zlib.crc32(scene.image.numpy().tobytes() + scene.image_second.numpy().tobytes())


def test_same_arguments_give_the_same_scene_in_any_order_and_process() -> None:
    indices = [0, 7, 31, 12]
    here = {index: _checksum(index) for index in indices}
    code = (
        "from tests.data.test_scenes import _checksum\n"
        f"print([_checksum(i) for i in {indices[::-1]}])"
    )
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert there.stdout.strip() == str([here[index] for index in indices[::-1]])


def test_kept_scenes_are_generated_once_for_all_forked_readers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fresh, kept = (SceneSource(4, size=24, seed=6, keep=keep) for keep in (False, True))
    reader = multiprocessing.get_context("fork").Process(target=lambda: kept.read(2))
    reader.start()
    reader.join()
    assert reader.exitcode == 0
    copied = pickle.loads(pickle.dumps(kept))  # what a spawned process gets
    for source in (kept, copied, copied):
        assert torch.equal(source.read(2).pixels, fresh.read(2).pixels)
        assert source.read(2).label == fresh.read(2).label
    calls: list[int] = []

    def count(index: int, **options: int) -> Scene:
        calls.append(index)
        return generate_scene(index, **options)

    monkeypatch.setattr("cmid.data.scenes.source.generate_scene", count)
    for _ in range(2):
        kept.read(2)  # the other process has made it
        kept.read(3).pixels.zero_()  # whoever changes an image changes a copy
        fresh.read(3)
    assert calls == [3, 3, 3]
    assert torch.equal(kept.read(3).pixels, fresh.read(3).pixels)


@pytest.mark.parametrize("keep", [False, True])
def test_source_gives_the_second_date_where_asked(keep: bool) -> None:
    source = SceneSource(3, size=24, seed=6, second_date=True, keep=keep)
    for index in (2, 2, 0):
        scene = generate_scene(index, seed=6, size=24, second_date=True)
        image = source.read(index)
        assert image.second_date is not None
        assert scene.image_second is not None
        assert torch.equal(image.pixels, scene.image)
        assert torch.equal(image.second_date, scene.image_second)
    assert SceneSource(3, size=24, seed=6).read(2).second_date is None


def test_seeds_share_no_scene() -> None:
    images = [SceneSource(60, seed=seed)[i].pixels for seed in (0, 1) for i in range(60)]
    assert len({image.numpy().tobytes() for image in images}) == 120


@pytest.mark.parametrize("size", [16, 48, 64, 97, 256])
@pytest.mark.parametrize("num_bands", [3, 4, 6, 9])
def test_any_size_and_number_of_bands(size: int, num_bands: int) -> None:
    for index in range(10 if size < 97 else 2):
        scene = generate_scene(index, size=size, num_bands=num_bands, second_date=True)
        assert scene.image.shape == (num_bands, size, size)
        assert scene.image.dtype == torch.uint8
        assert scene.image_second is not None
        assert scene.image_second.shape == scene.image.shape
        assert scene.semantic_mask.shape == (size, size)
        assert scene.semantic_mask.dtype == np.uint8
        assert scene.change_mask is not None
        assert scene.change_mask.shape == (size, size)
        assert scene.captions
        assert scene.instances is scene.instances


def test_first_image_depends_on_neither_second_date_nor_further_bands() -> None:
    for index in range(10):
        plain = generate_scene(index)
        full = generate_scene(index, num_bands=6, second_date=True)
        assert torch.equal(plain.image, full.image[:3])
        assert plain.image_second is None
        assert plain.change_mask is None
        assert plain.semantic_mask_second is None


def test_source_is_balanced_and_not_in_class_order() -> None:
    source = SceneSource(100, num_bands=4, size=32)
    labels = [source[i].label for i in range(100)]
    assert np.bincount(labels).tolist() == [10] * 10
    assert labels[:10] != labels[10:20]
    assert tuple(source.classes) == SCENE_CLASSES
    assert len(SCENE_CLASSES) == 10
    image = source.read(3, min_size=(500.0, 500.0))
    assert image.pixels.shape == (4, 32, 32)
    assert image.full_size == (32, 32)
    with pytest.raises(IndexError):
        source[100]


@pytest.mark.parametrize("wrong", [{"size": 15}, {"num_bands": 2}])
def test_wrong_arguments_are_refused_in_one_line(wrong: dict[str, int]) -> None:
    name = next(iter(wrong))
    for make in (lambda: generate_scene(0, **wrong), lambda: SceneSource(5, **wrong)):  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=f"{name} >=") as error:
            make()
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="index >= 0"):
        generate_scene(-1)


def test_semantic_masks_use_every_class(scenes: list[Scene]) -> None:
    seen = np.unique(np.concatenate([scene.semantic_mask.ravel() for scene in scenes]))
    assert seen.tolist() == list(range(len(SEMANTIC_CLASSES)))


def test_instances_lie_on_their_semantic_class(scenes: list[Scene]) -> None:
    agreement: dict[str, list[float]] = {name: [] for name in INSTANCE_CATEGORIES}
    for scene in scenes:
        explained = np.zeros(scene.semantic_mask.shape, dtype=bool)
        for instance in scene.instances:
            assert instance.area >= SMALLEST_AREA
            assert instance.polygon.min() >= 0
            assert instance.polygon.max() <= 96
            inside = _filled(instance.polygon, 96)
            explained |= inside
            wanted = SEMANTIC_CLASSES.index(instance.category)
            if inside.sum() >= 12:
                agreement[instance.category].append(
                    float((scene.semantic_mask == wanted)[inside].mean())
                )
        objects = scene.semantic_mask >= SEMANTIC_CLASSES.index(INSTANCE_CATEGORIES[0])
        if objects.sum() > 100:  # and the other way round: no object without an instance
            assert explained[objects].mean() > 0.85
    for values in agreement.values():
        assert len(values) > 5
        assert min(values) > 0.5
        assert np.mean(values) > 0.88


def _filled(polygon: NDArray[np.float64], size: int) -> NDArray[np.bool_]:
    canvas = PillowImage.new("L", (size * 4, size * 4))
    ImageDraw.Draw(canvas).polygon((polygon * 4 - 0.5).ravel().tolist(), fill=1)
    return np.asarray(canvas)[2::4, 2::4] > 0


def test_oriented_boxes_enclose_their_polygons_and_are_le90(scenes: list[Scene]) -> None:
    for instance in (instance for scene in scenes for instance in scene.instances):
        cx, cy, width, height, angle = instance.oriented_box
        assert width >= height > 0
        assert -math.pi / 2 <= angle < math.pi / 2
        offset = instance.polygon - (cx, cy)
        along = offset @ (math.cos(angle), math.sin(angle))
        across = offset @ (-math.sin(angle), math.cos(angle))
        np.testing.assert_allclose([along.max(), -along.min()], width / 2, atol=1e-6)
        np.testing.assert_allclose([across.max(), -across.min()], height / 2, atol=1e-6)


def test_oriented_box_of_a_known_rectangle() -> None:
    cos, sin = math.cos(0.4), math.sin(0.4)
    corners = np.array([(-1, -3), (1, -3), (1, 3), (-1, 3)]) @ np.array([(cos, sin), (-sin, cos)])
    expected = (5, 7, 6, 2, 0.4 - math.pi / 2)
    assert oriented_box(corners + np.array((5, 7))) == pytest.approx(expected)


def test_captions_count_the_instances(scenes: list[Scene]) -> None:
    for scene in scenes:
        text = " ".join(scene.captions)
        for category in INSTANCE_CATEGORIES:
            count = sum(instance.category == category for instance in scene.instances)
            if count:
                assert re.search(rf"\b{count_phrase(category, count)}\b", text)
            else:
                assert not re.search(rf"\w+ {category}s? .*can be seen", text)
    assert count_phrase("ship", 1) == "one ship"
    assert count_phrase("ship", 23) == "23 ships"


def test_captions_name_the_ground_that_is_there(scenes: list[Scene]) -> None:
    for scene in scenes:
        (text,) = [c for c in scene.captions if c.startswith("an aerial image with ")]
        named = {name for name in SEMANTIC_CLASSES if re.search(rf"\b{name}", text)}
        cover = np.bincount(scene.semantic_mask.ravel(), minlength=len(SEMANTIC_CLASSES))
        assert named == {SEMANTIC_CLASSES[k] for k in np.flatnonzero(cover > 0.04 * cover.sum())}


def test_region_phrases_are_boxes_in_the_image_and_unique(scenes: list[Scene]) -> None:
    for scene in scenes:
        phrases = [phrase for phrase, _ in scene.region_phrases]
        assert len(set(phrases)) == len(phrases)
        for phrase, (x0, y0, x1, y1) in scene.region_phrases:
            assert 0 <= x0 < x1 <= 96
            assert 0 <= y0 < y1 <= 96
            assert any(name in phrase for name in SEMANTIC_CLASSES)
    assert np.mean([bool(scene.region_phrases) for scene in scenes]) > 0.8


def test_change_mask_is_where_the_material_differs(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert scene.drawn_second is not None
        assert scene.change_mask is not None
        step = slice(1, None, SUPERSAMPLING)
        differs = scene.drawn.material[step, step] != scene.drawn_second.material[step, step]
        np.testing.assert_array_equal(scene.change_mask, differs)
        assert scene.semantic_mask_second is not None
        moved = scene.semantic_mask != scene.semantic_mask_second
        assert not (moved & ~scene.change_mask).any()
    shares = np.array(
        [scene.change_mask.mean() for scene in scenes if scene.change_mask is not None]
    )
    assert (shares > 0.002).mean() > 0.75
    assert shares.mean() < 0.25


def test_light_and_season_differ_without_being_a_change(scenes: list[Scene]) -> None:
    differences = []
    for scene in scenes:
        assert scene.image_second is not None
        assert scene.change_mask is not None
        difference = (scene.image.float() - scene.image_second.float()).abs().mean(dim=0).numpy()
        differences.append(difference[~scene.change_mask].mean())
    assert np.median(differences) > 10


def test_near_infrared_tells_vegetation_from_water(scenes: list[Scene]) -> None:
    vegetation, water = (Material.GRASS, Material.CROP, Material.TREE), (Material.WATER,)
    for materials, brighter in ((vegetation, True), (water, False)):
        count = 0
        for scene in scenes:
            where = np.isin(scene.material_mask, materials)
            if where.sum() > 1000:
                red, infrared = (scene.image[band].numpy()[where].mean() for band in (0, 3))
                # Water and its red may both be black after the stretch.
                assert infrared > red if brighter else infrared < red + 1
                count += 1
        assert count > 10


def test_contact_sheet(tmp_path) -> None:  # type: ignore[no-untyped-def]
    contact_sheet(tmp_path / "sheet.png", size=16, scale=2, columns=2)
    assert PillowImage.open(tmp_path / "sheet.png").size == (100 + 64, 320)


def test_classes_need_structure_not_mean_colour() -> None:
    """Measured: 0.41 from means and standard deviations, 0.94 from structure (chance is 0.1)."""
    train, train_labels = _images(2000, seed=0)
    test, test_labels = _images(1000, seed=1)
    scores = []
    for features in (_colour_statistics, _structure):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        model.fit(features(train), train_labels)
        scores.append(model.score(features(test), test_labels))
    assert scores[0] < 0.45
    assert scores[1] > 0.85


def _images(count: int, *, seed: int) -> tuple[Array, NDArray[np.int64]]:
    source = SceneSource(count, seed=seed)
    read = [source[index] for index in range(count)]
    pixels = np.stack([image.pixels.numpy() for image in read]).astype(np.float32) / 255
    return pixels, np.array([image.label for image in read])


def _colour_statistics(images: Array) -> Array:
    return np.concatenate([images.mean(axis=(2, 3)), images.std(axis=(2, 3))], axis=1)


def _structure(images: Array) -> Array:
    """Gradient and grey value quantiles, orientation spectra and autocorrelation at four scales
    of the standardised grey image: nothing of colour, exposure or rotation is left in them."""
    grey = images.mean(axis=1)
    grey = grey - grey.mean(axis=(1, 2), keepdims=True)
    grey /= grey.std(axis=(1, 2), keepdims=True) + 1e-6
    features = []
    for _ in range(4):
        down, right = np.gradient(grey, axis=(1, 2))
        strength, angle = np.hypot(down, right), np.arctan2(down, right) % np.pi / np.pi
        bins = [(strength * (np.floor(angle * 12) == k)).mean(axis=(1, 2)) for k in range(12)]
        histogram = np.stack(bins, axis=1)
        spectrum = np.abs(np.fft.rfft(histogram, axis=1))
        features.append(spectrum / (histogram.sum(axis=1, keepdims=True) + 1e-6))
        for values in (strength, grey):
            flat = values.reshape(len(values), -1)
            features.append(np.quantile(flat, (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.97), axis=1).T)
        features += _autocorrelation(grey)
        grey = (
            grey[:, ::2, ::2] + grey[:, 1::2, ::2] + grey[:, ::2, 1::2] + grey[:, 1::2, 1::2]
        ) / 4
    return np.concatenate(features, axis=1)


def _autocorrelation(grey: Array) -> list[Array]:
    """Mean, largest and smallest autocorrelation on rings around the origin."""
    side = grey.shape[1]
    power = np.abs(np.fft.fft2(grey - grey.mean(axis=(1, 2), keepdims=True))) ** 2
    correlation = np.fft.ifft2(power).real
    correlation /= correlation[:, :1, :1] + 1e-6
    lag = np.fft.fftfreq(side) * side
    radius = np.hypot(lag[:, None], lag)
    rings = [correlation[:, (radius >= r) & (radius < r + 1)] for r in range(1, min(8, side // 2))]
    return [np.stack([v.mean(axis=1), v.max(axis=1), v.min(axis=1)], axis=1) for v in rings]
