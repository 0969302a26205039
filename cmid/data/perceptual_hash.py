"""Copies of images, turned, cropped or encoded again: hashes propose them, pixels decide."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from scipy.fft import dct
from torch import Tensor

CANVAS = 64
_SIDE, _WAVES = 32, 8
HASH_SIZE = _WAVES * _WAVES - 1
_FLAT = 0.02  # standard deviation over the largest value below which only noise is left
# Windows: share of the sides, and at how many places in each direction. A crop lies at most some
# 4 % of a side beside one of them.
_WINDOWS = ((0.92, 3), (0.84, 4), (0.76, 5))
SHARES = torch.tensor([1.0] + [share for share, n in _WINDOWS for _ in range(n * n)])
_NEARBY = (-0.05, -0.025, 0.0, 0.025, 0.05)  # shares that are tried beside that of a window
_BLUR = 5


def grey_canvas(pixels: Tensor) -> Tensor:
    """An image ``(C, H, W)`` of any dtype and number of bands, grey and squashed: ``(64, 64)``."""
    grey = pixels.float().mean(dim=0)[None, None]
    return F.interpolate(grey, (CANVAS, CANVAS), mode="bilinear", antialias=True)[0, 0]


def perceptual_hash(canvas: Tensor) -> Tensor:
    """Hash of an image; the scalar product of two hashes is their similarity.

    The lowest 8 x 8 coefficients of a cosine transform without the mean, weighted by their
    frequency, as natural images have little of the high ones, and of length 1. Their signs alone
    (the usual pHash) tell crops from strangers less well than their values.

    Args:
        canvas: ``(..., H, W)`` of `grey_canvas`.

    Returns:
        ``(..., 63)`` float32; zeros for an image without contrast, which is like no other.
    """
    grey = canvas.reshape(-1, 1, *canvas.shape[-2:])
    small = F.interpolate(grey, (_SIDE, _SIDE), mode="bilinear", antialias=True)[:, 0]
    weighted = (_BASIS @ small @ _BASIS.T * _WEIGHTS).flatten(1)[:, 1:]
    flat = small.std(dim=(1, 2)) <= _FLAT * small.abs().amax(dim=(1, 2))
    return (F.normalize(weighted, dim=1) * ~flat[:, None]).unflatten(0, canvas.shape[:-2] or (1,))


def window_hashes(canvas: Tensor) -> Tensor:
    """Hashes ``(51, 63)`` of an image ``(64, 64)`` and of windows of `SHARES` of its sides."""
    windows = [canvas[None]]
    for share, places in _WINDOWS:
        side = round(share * CANVAS)
        starts = [round(k / (places - 1) * (CANVAS - side)) for k in range(places)]
        windows.append(
            torch.stack([canvas[y : y + side, x : x + side] for y in starts for x in starts])
        )
    return torch.cat([perceptual_hash(window) for window in windows])


def orientations(hashes: Tensor) -> Tensor:
    """Hashes of flipped and turned images: ``(..., 63)`` to ``(..., 8, 63)``, as `turned` does it.

    No pixel is needed: a flip changes the sign of odd waves, and transposing exchanges them.
    """
    waves = F.pad(hashes, (1, 0)).unflatten(-1, (_WAVES, _WAVES))
    signs = (-1.0) ** torch.arange(_WAVES, device=hashes.device)
    made = [
        wave * down * right
        for wave in (waves, waves.transpose(-1, -2))
        for down in (1.0, signs[:, None])
        for right in (1.0, signs)
    ]
    return torch.stack(made, dim=-3).flatten(-2)[..., 1:]


def turned(canvas: Tensor, orientation: int) -> Tensor:
    """``(H, W)`` transposed or not, then flipped: the orientations 0 to 7 of `orientations`."""
    canvas = canvas.T if orientation & 4 else canvas
    return canvas.flip([axis for axis, bit in ((0, 2), (1, 1)) if orientation & bit])


def correlation(image: Tensor, part: Tensor, share: float) -> float:
    """Correlation of an image's details with those of a part of it, where they fit best.

    Args:
        image, part: ``(64, 64)`` of `grey_canvas`, oriented alike.
        share: roughly, how much of a side of the image the part shows.
    """
    best = -1.0
    details = _details(image)
    for scale in sorted({min(1.0, share + step) for step in _NEARBY}):
        side = round(scale * CANVAS)
        small = F.interpolate(part[None, None], (side, side), mode="bilinear", antialias=True)
        wanted = _details(small[0, 0])
        wanted = wanted - wanted.mean()
        products, means, squares = _sums(
            torch.stack([details, details, details.square()]),
            torch.stack([wanted, torch.ones_like(wanted), torch.ones_like(wanted)]) / side**2,
        )
        spread = (squares - means.square()).clamp(min=1e-6).sqrt() * wanted.std(correction=0)
        best = max(best, float((products / spread.clamp(min=1e-6)).max()))
    return best


def _sums(images: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of ``(B, N, N)`` at all places of ``(B, K, K)``: ``(B, N-K+1, N-K+1)``."""
    size, places = images.shape[-1], images.shape[-1] - weights.shape[-1] + 1
    spectrum = torch.fft.rfft2(images) * torch.fft.rfft2(weights, s=(size, size)).conj()
    # What wraps around lies behind the last place.
    return torch.fft.irfft2(spectrum, s=(size, size))[:, :places, :places]


def _details(canvas: Tensor) -> Tensor:
    """Without what is broad: stripes and gradients are common to many images."""
    padded = F.pad(canvas[None, None], [_BLUR // 2] * 4, mode="replicate")
    return canvas - F.avg_pool2d(padded, _BLUR, stride=1)[0, 0]


def _weights() -> Tensor:
    down, right = torch.meshgrid(torch.arange(_WAVES), torch.arange(_WAVES), indexing="ij")
    return torch.hypot(down.float(), right.float()).pow(0.75)


_BASIS = torch.from_numpy(dct(torch.eye(_SIDE).numpy(), axis=0, norm="ortho")[:_WAVES])
_WEIGHTS = _weights()
