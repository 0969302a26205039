"""All parameters of the two views, typed, in one place.

The defaults are the published ones (arXiv:2304.09670).
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class CropConfig:
    """Geometry of a view; both views draw from the same distribution.

    Attributes:
        scale: range of the crop's share of the image's area.
        ratio: range of width / height of the crop (in an image squeezed to a square).
        flip: probability of a horizontal flip.
        quarter_turns: also rotate by a random multiple of 90 degrees. Nadir imagery has no up; the
            published recipe does not rotate.
    """

    scale: tuple[float, float] = (0.3, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    quarter_turns: bool = False

    def __post_init__(self) -> None:
        low, high = self.scale
        if not 0 < low <= high <= 1:
            raise ValueError(f"crop scale {self.scale} is not a range within (0, 1]")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"crop ratio {self.ratio} is not a range of positive numbers")


@dataclass(frozen=True)
class ColourConfig:
    """Colour of a view, in the order of application; every ``p_`` is a probability per image.

    Attributes:
        brightness, contrast, saturation: factors are drawn from ``[1 - v, 1 + v]``.
        hue: shift drawn from ``[-v, v]``, as a fraction of the full circle.
        p_jitter: probability of the four above together.
        blur_kernel: odd kernel sizes in pixels, smallest and largest.
        blur_sigma: range of the Gaussian's standard deviation in pixels.
        noise_std: range of the standard deviation of additive noise, for values in [0, 1].
        solarize_threshold: values above it are inverted.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    p_jitter: float = 0.0
    blur_kernel: tuple[int, int] = (3, 7)
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    p_blur: float = 0.0
    noise_std: tuple[float, float] = (3 / 255, 7 / 255)
    p_noise: float = 0.0
    solarize_threshold: float = 0.5
    p_solarize: float = 0.0
    p_grey: float = 0.0

    def __post_init__(self) -> None:
        for name in ("p_jitter", "p_blur", "p_noise", "p_solarize", "p_grey"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} = {getattr(self, name)} is not a probability in [0, 1]")
        if any(size < 1 or size % 2 == 0 for size in self.blur_kernel):
            raise ValueError(f"blur_kernel {self.blur_kernel} must hold odd sizes of at least 1")


def strong_colour() -> ColourConfig:
    """The published "strong" view."""
    return ColourConfig(
        brightness=0.4,
        contrast=0.4,
        saturation=0.2,
        hue=0.1,
        p_jitter=0.8,
        p_blur=1.0,
        p_noise=0.6,
        p_solarize=0.2,
        p_grey=0.2,
    )


@dataclass(frozen=True)
class ViewColourConfig:
    """Colour of the first ("weak") and the second ("strong") view."""

    weak: ColourConfig = field(default_factory=ColourConfig)
    strong: ColourConfig = field(default_factory=strong_colour)
