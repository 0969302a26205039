from __future__ import annotations

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from cmid.data.statistics import MILLION_AID, ChannelStatistics
from cmid.views import (
    ColourAugmentation,
    ColourConfig,
    DeviceViews,
    Standardize,
    ViewColourConfig,
    strong_colour,
)


def statistics(bands: int) -> ChannelStatistics:
    return ChannelStatistics((0.4,) * bands, (0.2,) * bands, (0.0,) * bands, (255.0,) * bands)


def batch(images: int, bands: int, size: int = 32) -> dict[str, torch.Tensor]:
    return {
        "views": torch.randint(0, 256, (images, 2, bands, size, size), dtype=torch.uint8),
        "masks": torch.rand(images, 2, 4, 4) < 0.5,
        "matrices": torch.eye(3).expand(images, 2, 3, 3),
    }


@pytest.mark.parametrize("bands", [1, 3, 4, 10])
def test_strong_colour_keeps_shape_and_range_and_changes_images(bands: int) -> None:
    images = torch.rand(16, bands, 32, 32)
    coloured = ColourAugmentation(strong_colour())(images)
    assert coloured.shape == images.shape
    assert coloured.min() >= 0
    assert coloured.max() <= 1
    assert (coloured != images).flatten(1).any(1).all()


def test_no_probability_is_no_change() -> None:
    images = torch.rand(4, 3, 32, 32)
    assert torch.equal(ColourAugmentation(ColourConfig())(images), images)


@pytest.mark.parametrize(
    "jitter", [{"brightness": 0.4}, {"contrast": 0.4}, {"saturation": 0.4}, {"hue": 0.1}]
)
@pytest.mark.parametrize("bands", [3, 5])
def test_each_jitter_changes_about_its_share_of_images(
    jitter: dict[str, float], bands: int
) -> None:
    images = torch.rand(400, bands, 4, 4) * 0.5 + 0.25
    changed = ColourAugmentation(ColourConfig(**jitter, p_jitter=0.3))(images) - images
    share = (changed.abs().flatten(1).amax(1) > 1e-3).float().mean()
    assert 0.2 < float(share) < 0.4


@pytest.mark.parametrize("size", [3, 7])
def test_blur_equals_torchvision_for_a_fixed_kernel(size: int) -> None:
    images = torch.rand(2, 4, 32, 32)
    parameters = ColourConfig(blur_kernel=(size, size), blur_sigma=(1.3, 1.3), p_blur=1.0)
    expected = tv.gaussian_blur(images, [size, size], [1.3, 1.3])
    torch.testing.assert_close(ColourAugmentation(parameters)(images), expected)


def test_blur_draws_kernel_sizes_per_image() -> None:
    impulse = torch.zeros(200, 1, 15, 15)
    impulse[:, :, 7, 7] = 1
    parameters = ColourConfig(blur_kernel=(3, 7), blur_sigma=(2.0, 2.0), p_blur=0.75)
    blurred = ColourAugmentation(parameters)(impulse)
    widths = (blurred[:, 0, 7] > 0).sum(1)
    assert set(widths.tolist()) == {1, 3, 5, 7}
    torch.testing.assert_close(blurred.sum((1, 2, 3)), torch.ones(200))


def test_solarize_inverts_what_is_above_the_threshold() -> None:
    images = torch.tensor([0.2, 0.5, 0.9]).reshape(1, 1, 1, 3)
    result = ColourAugmentation(ColourConfig(p_solarize=1.0))(images)
    torch.testing.assert_close(result.flatten(), torch.tensor([0.2, 0.5, 0.1]))


def test_grey_is_luma_of_rgb_and_the_mean_of_other_bands() -> None:
    grey = ColourAugmentation(ColourConfig(p_grey=1.0))
    rgb = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(grey(rgb)[:, :1], tv.rgb_to_grayscale(rgb), atol=1e-3, rtol=0)
    bands = torch.rand(2, 5, 8, 8)
    torch.testing.assert_close(grey(bands), bands.mean(1, keepdim=True).expand(-1, 5, -1, -1))


def test_noise_has_the_stated_deviation() -> None:
    images = torch.full((8, 3, 64, 64), 0.5)
    noisy = ColourAugmentation(ColourConfig(noise_std=(0.02, 0.02), p_noise=1.0))(images)
    assert float((noisy - images).std()) == pytest.approx(0.02, rel=0.05)


def test_weak_view_is_the_standardised_image_and_the_strong_one_is_not() -> None:
    data = batch(4, 3)
    views = DeviceViews(ViewColourConfig(), MILLION_AID)(data)
    mean = torch.tensor(MILLION_AID.mean).reshape(1, 3, 1, 1)
    std = torch.tensor(MILLION_AID.std).reshape(1, 3, 1, 1)
    weak, strong = ((data["views"][:, i] / 255 - mean) / std for i in (0, 1))
    torch.testing.assert_close(views.images[:4], weak)
    assert (views.images[4:] - strong).abs().mean() > 0.1
    assert torch.equal(views.masks, data["masks"].transpose(0, 1).flatten(0, 1))


def test_wide_values_pass_the_weak_view_beyond_the_scale() -> None:
    wide = ChannelStatistics((0.5,), (0.25,), (100.0,), (300.0,), dtype="float32")
    data = batch(1, 1)
    data["views"] = torch.full((1, 2, 1, 32, 32), 700.0)
    views = DeviceViews(ViewColourConfig(), wide)(data)
    torch.testing.assert_close(views.images[0], torch.full((1, 32, 32), (3.0 - 0.5) / 0.25))
    assert float(views.images[1].max()) <= (1 - 0.5) / 0.25


def test_standardize_can_be_undone() -> None:
    standardize = Standardize(statistics(4))
    pixels = torch.randint(0, 256, (2, 4, 8, 8), dtype=torch.uint8)
    torch.testing.assert_close(standardize.undo(standardize(pixels)), pixels / 255)


def test_impossible_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="p_blur"):
        ColourConfig(p_blur=1.2)
    with pytest.raises(ValueError, match="odd"):
        ColourConfig(blur_kernel=(2, 7))
