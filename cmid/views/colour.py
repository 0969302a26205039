"""The device's half of the views: colour of a whole batch, then standardisation.

Order matters: colour works on values in [0, 1], and only its result is standardised.

Images with other than three bands have no hue, saturation or grey. There

- saturation moves every band towards or away from the mean of the bands,
- hue becomes a separate gain in ``[1 - v, 1 + v]`` of each band,
- grey replaces every band by the mean of the bands.

Brightness, contrast, blur, noise and solarisation act on each band in any case.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from kornia.color import rgb_to_grayscale
from kornia.enhance import (
    adjust_brightness_accumulative,
    adjust_contrast_with_mean_subtraction,
    adjust_hue,
    adjust_saturation_with_gray_subtraction,
)
from kornia.filters import filter2d_separable, get_gaussian_kernel1d
from torch import Tensor, nn

from cmid.data.statistics import ChannelStatistics
from cmid.views.config import ColourConfig


class ColourAugmentation(nn.Module):
    """Random colour of a batch; every image draws its own parameters.

    The four jitter operations run in one random order per batch; all draws come from torch's
    global generator of the device.
    """

    def __init__(self, parameters: ColourConfig) -> None:
        super().__init__()
        self.settings = parameters

    def forward(self, images: Tensor) -> Tensor:
        """Augment ``(B, C, H, W)`` float images with values in [0, 1]; the range is kept."""
        p = self.settings
        if p.p_jitter:
            images = self._jitter(images)
        if p.p_blur:
            images = self._blur(images)
        if p.p_noise:
            std = _uniform(images, p.noise_std) * _chosen(images, p.p_noise)
            images = (images + torch.randn_like(images) * std).clamp(0, 1)
        if p.p_solarize:
            inverted = (images > p.solarize_threshold) & _chosen(images, p.p_solarize)
            images = torch.where(inverted, 1 - images, images)
        if p.p_grey:
            images = torch.where(_chosen(images, p.p_grey), grey(images), images)
        return images

    def _jitter(self, images: Tensor) -> Tensor:
        p = self.settings
        chosen = _chosen(images, p.p_jitter)
        operations = [
            (p.brightness, _brightness),
            (p.contrast, _contrast),
            (p.saturation, _saturation),
            (p.hue, _hue),
        ]
        # Images that were not chosen pass with strength 0: one pass serves the whole batch.
        for i in torch.randperm(len(operations)).tolist():
            strength, operation = operations[i]
            if strength:
                images = operation(images, strength * chosen).clamp(0, 1)
        return images

    def _blur(self, images: Tensor) -> Tensor:
        p = self.settings
        smallest, largest = p.blur_kernel
        sigma = _uniform(images, p.blur_sigma).reshape(-1, 1)
        kernel = get_gaussian_kernel1d(largest, sigma)  # (B, largest)
        # A smaller kernel is the largest one without its outer taps.
        steps = (largest - smallest) // 2 + 1
        radius = smallest // 2 + torch.randint(steps, sigma.shape, device=images.device)
        offset = torch.arange(largest, device=images.device) - largest // 2
        kernel = kernel * (offset.abs() <= radius)
        identity = (offset == 0).to(kernel).expand_as(kernel)
        chosen = _chosen(images, p.p_blur).reshape(-1, 1)
        kernel = torch.where(chosen, kernel / kernel.sum(1, keepdim=True), identity)
        return filter2d_separable(images, kernel, kernel)


def grey(images: Tensor) -> Tensor:
    """Luma of RGB, the mean of the bands otherwise, in all bands: ``(B, C, H, W)``."""
    luma = rgb_to_grayscale(images) if images.shape[1] == 3 else images.mean(1, keepdim=True)
    return luma.expand_as(images)


def _brightness(images: Tensor, strength: Tensor) -> Tensor:
    return adjust_brightness_accumulative(images, _factor(strength))


def _contrast(images: Tensor, strength: Tensor) -> Tensor:
    if images.shape[1] == 3:
        return adjust_contrast_with_mean_subtraction(images, _factor(strength))
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (images - mean) * _factor(strength)[:, None, None, None]


def _saturation(images: Tensor, strength: Tensor) -> Tensor:
    if images.shape[1] == 3:
        return adjust_saturation_with_gray_subtraction(images, _factor(strength))
    mean = grey(images)
    return mean + (images - mean) * _factor(strength)[:, None, None, None]


def _hue(images: Tensor, strength: Tensor) -> Tensor:
    if images.shape[1] == 3:
        return adjust_hue(images, (_factor(strength) - 1) * 2 * math.pi)
    draw = torch.rand(*images.shape[:2], 1, 1, device=images.device, dtype=images.dtype)
    return images * (1 + strength * (2 * draw - 1))


def _factor(strength: Tensor) -> Tensor:
    """One factor per image from ``[1 - strength, 1 + strength]``: ``(B, 1, 1, 1)`` to ``(B,)``."""
    strength = strength.flatten()
    return 1 + strength * (2 * torch.rand_like(strength) - 1)


def _uniform(images: Tensor, bounds: tuple[float, float]) -> Tensor:
    draw = torch.rand(len(images), 1, 1, 1, device=images.device, dtype=images.dtype)
    return bounds[0] + (bounds[1] - bounds[0]) * draw


def _chosen(images: Tensor, probability: float) -> Tensor:
    return torch.rand(len(images), 1, 1, 1, device=images.device) < probability


class Standardize(nn.Module):
    """From stored values to [0, 1] and from there to mean 0 and standard deviation 1, per band."""

    low: Tensor
    span: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, statistics: ChannelStatistics) -> None:
        super().__init__()
        self.statistics = statistics
        low, high = _per_band(statistics.low), _per_band(statistics.high)
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("span", high - low, persistent=False)
        self.register_buffer("mean", _per_band(statistics.mean), persistent=False)
        self.register_buffer("std", _per_band(statistics.std), persistent=False)

    def to_unit(self, images: Tensor) -> Tensor:
        """Stored values to the unit scale of the statistics: uint8 / 255; not clamped."""
        return (images.float() - self.low) / self.span

    def from_unit(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std

    def undo(self, images: Tensor) -> Tensor:
        """Standardised images back to the unit scale, clamped to [0, 1], for pictures."""
        return (images * self.std + self.mean).clamp(0, 1)

    def stored_moments(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each band in stored units, 0..255 for 8-bit images."""
        mean, std = self.mean * self.span + self.low, self.std * self.span
        return mean.flatten().tolist(), std.flatten().tolist()

    def forward(self, images: Tensor) -> Tensor:
        """Standardise ``(B, C, H, W)`` stored values (any dtype) to float32."""
        return self.from_unit(self.to_unit(images))


def _per_band(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)
