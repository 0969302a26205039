"""Colour of a generated scene: material spectra, ground textures, season, light and sensor.

Everything global (season, soil and water colour, cast, haze, exposure, noise) is drawn for each
scene without regard to its class, so that mean colour says little about land use.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cmid.data.scenes.drawing import ROW_ANGLES, SUPERSAMPLING, Material, MaterialMap, Point

Array = NDArray[np.float32]
M = Material

# Reflectance in red, green, blue, near infrared and two short-wave infrared bands.
_SPECTRA: dict[int, tuple[float, ...]] = {
    M.GRASS: (0.10, 0.14, 0.07, 0.40, 0.22, 0.12),
    M.CROP: (0.07, 0.13, 0.05, 0.48, 0.20, 0.10),
    M.STUBBLE: (0.30, 0.26, 0.15, 0.37, 0.40, 0.30),
    M.SOIL: (0.26, 0.20, 0.14, 0.32, 0.40, 0.36),
    M.TREE: (0.05, 0.085, 0.04, 0.38, 0.15, 0.07),
    M.WATER: (0.04, 0.06, 0.08, 0.02, 0.01, 0.01),
    M.ASPHALT: (0.12, 0.12, 0.125, 0.14, 0.16, 0.16),
    M.CONCRETE: (0.29, 0.28, 0.26, 0.31, 0.33, 0.31),
    M.TILES: (0.30, 0.16, 0.11, 0.33, 0.36, 0.30),
    M.FLAT_ROOF: (0.22, 0.22, 0.23, 0.24, 0.25, 0.24),
    M.METAL_ROOF: (0.44, 0.45, 0.47, 0.45, 0.42, 0.38),
    M.SAND: (0.42, 0.37, 0.28, 0.48, 0.52, 0.50),
    M.HULL: (0.42, 0.41, 0.41, 0.40, 0.36, 0.32),
    M.DECK: (0.28, 0.20, 0.16, 0.28, 0.28, 0.26),
    M.TANK: (0.50, 0.50, 0.48, 0.50, 0.46, 0.42),
    M.PLANE: (0.60, 0.60, 0.61, 0.58, 0.54, 0.50),
    M.CAR: (0.34, 0.33, 0.34, 0.32, 0.30, 0.28),
    M.SHRUB: (0.11, 0.13, 0.08, 0.30, 0.22, 0.14),
    M.FOAM: (0.50, 0.52, 0.53, 0.36, 0.10, 0.06),
    M.PAINT: (0.56, 0.56, 0.54, 0.54, 0.50, 0.46),
    M.ROCK: (0.27, 0.26, 0.24, 0.29, 0.30, 0.29),
}
# The same materials in the dry season, in autumn and in winter.
_DRY: dict[int, tuple[float, ...]] = {
    M.GRASS: (0.27, 0.24, 0.15, 0.40, 0.34, 0.24),
    M.CROP: (0.20, 0.21, 0.10, 0.44, 0.30, 0.18),
    M.TREE: (0.10, 0.11, 0.06, 0.34, 0.20, 0.11),
    M.SHRUB: (0.18, 0.17, 0.11, 0.32, 0.28, 0.19),
}
_AUTUMN: dict[int, tuple[float, ...]] = {
    M.GRASS: (0.16, 0.16, 0.09, 0.38, 0.26, 0.16),
    M.TREE: (0.20, 0.13, 0.06, 0.38, 0.22, 0.12),
    M.SHRUB: (0.19, 0.14, 0.08, 0.32, 0.25, 0.16),
}
_WINTER: dict[int, tuple[float, ...]] = {
    M.GRASS: (0.17, 0.16, 0.12, 0.32, 0.26, 0.18),
    M.CROP: (0.15, 0.15, 0.10, 0.34, 0.28, 0.20),
    M.TREE: (0.13, 0.11, 0.09, 0.25, 0.20, 0.13),
    M.SHRUB: (0.16, 0.14, 0.11, 0.26, 0.24, 0.17),
}
_SEASONS: tuple[dict[int, tuple[float, ...]], ...] = ({}, _DRY, _AUTUMN, _WINTER)
_SOILS = (
    (0.26, 0.20, 0.14, 0.32, 0.40, 0.36),
    (0.33, 0.19, 0.11, 0.38, 0.44, 0.38),
    (0.24, 0.22, 0.20, 0.28, 0.34, 0.32),
    (0.38, 0.33, 0.25, 0.44, 0.50, 0.46),
    (0.14, 0.11, 0.085, 0.20, 0.28, 0.26),
    (0.17, 0.17, 0.12, 0.26, 0.32, 0.28),
)
_WATERS = (
    (0.04, 0.06, 0.08),
    (0.05, 0.10, 0.09),
    (0.16, 0.14, 0.10),
    (0.025, 0.035, 0.04),
    (0.08, 0.17, 0.18),
    (0.10, 0.12, 0.08),
    (0.24, 0.20, 0.14),
)
# Strength of the coarse, fine and crown texture of a material; the others get the default.
_ROUGHNESS = {
    M.GRASS: (0.13, 0.08, 0.0),
    M.CROP: (0.07, 0.05, 0.0),
    M.STUBBLE: (0.09, 0.06, 0.0),
    M.SOIL: (0.17, 0.10, 0.0),
    M.TREE: (0.16, 0.15, 0.9),
    M.WATER: (0.06, 0.025, 0.0),
    M.SAND: (0.07, 0.04, 0.0),
    M.SHRUB: (0.12, 0.10, 0.6),
    M.ROCK: (0.15, 0.16, 0.0),
    M.FOAM: (0.10, 0.20, 0.0),
}
_PLAIN = (0.05, 0.03, 0.0)
_TEXTURE: Array = np.array([_ROUGHNESS.get(m, _PLAIN) for m in Material], dtype=np.float32).T
_TONE: Array = np.exp((np.arange(64, dtype=np.float32) - 32) / 34)


@dataclass(frozen=True)
class Look:
    """Circumstances of one acquisition; `later` gives those of a second date of the same place."""

    spectra: Array  # (6, number of materials)
    sun: Point  # shadow of a thing of height one, image x and y
    cast: Array  # (6,) gain of each band
    haze: float
    exposure: float  # mean of the visible bands in the product, 0-1
    contrast: float  # their standard deviation
    noise: float
    row_cycles: float  # crop rows per scene unit
    soil: tuple[float, ...]
    # Mean and standard deviation of the visible bands that the product is stretched by; those of
    # the image where there are none.
    stretch: tuple[float, float] | None = None

    @classmethod
    def sample(cls, rng: random.Random, *, soil: tuple[float, ...] | None = None) -> Look:
        soil = soil or tuple(v * rng.uniform(0.85, 1.15) for v in rng.choice(_SOILS))
        turn, length = rng.uniform(0, 2 * math.pi), rng.uniform(0.3, 1.5)
        gains = [math.exp(rng.uniform(-0.2, 0.2)) for _ in range(3)]
        infrared = [max(gains) * rng.uniform(1.0, 1.1) for _ in range(3)]
        return cls(
            spectra=_seasonal_spectra(rng, soil),
            sun=(math.cos(turn) * length, math.sin(turn) * length),
            cast=np.array(gains + infrared, dtype=np.float32),
            haze=rng.uniform(0, 0.06),
            exposure=rng.uniform(0.27, 0.6),
            contrast=math.exp(rng.uniform(math.log(0.07), math.log(0.2))),
            noise=rng.uniform(0.004, 0.03),
            row_cycles=rng.uniform(11, 21),
            soil=soil,
        )

    def later(self, rng: random.Random) -> Look:
        """Another season and light over the same soil and rows: differences that are no change."""
        return replace(Look.sample(rng, soil=self.soil), row_cycles=self.row_cycles)

    def of_many(self) -> Look:
        """The same for images that are parts of one product: one stretch, which suits them all."""
        visible = self.spectra[:3] * self.cast[:3, None] + 0.75 * self.haze
        stretch = float(visible.mean()), float(visible.std())
        return replace(self, exposure=0.4, contrast=0.2, stretch=stretch)


def _seasonal_spectra(rng: random.Random, soil: tuple[float, ...]) -> Array:
    table = dict(_SPECTRA)
    season, strength = rng.choice(_SEASONS), rng.uniform(0.4, 1.0)
    for material, other in season.items():
        pairs = zip(table[material], other, strict=True)
        table[material] = tuple(a + strength * (b - a) for a, b in pairs)
    table[M.SOIL] = soil
    infrared = rng.uniform(0.004, 0.012)
    table[M.WATER] = (*rng.choice(_WATERS), infrared, infrared / 2, infrared / 2)
    spectra = np.array([table[m] for m in Material], dtype=np.float32).T
    for material in Material:  # no two fields of concrete are equally bright
        spectra[:, material] *= math.exp(rng.uniform(-0.22, 0.22))
    return spectra


def band_mixture(num_bands: int) -> Array:
    """``(num_bands, 6)`` weights of the tabulated bands: RGB, NIR, then a smooth way through the
    short-wave infrared."""
    weights = np.zeros((num_bands, 6), dtype=np.float32)
    extra = np.linspace(1, 2, num_bands - 4) if num_bands > 5 else [1.0]
    places = [0.0, 1.0, 2.0, 3.0, *(3.0 + np.asarray(extra))][:num_bands]
    for band, place in enumerate(places):
        low = min(int(place), 4)
        weights[band, low], weights[band, low + 1] = 1 - (place - low), place - low
    return weights


def colour(
    drawn: MaterialMap, look: Look, *, angle: float, num_bands: int, texture: int, noise: int
) -> NDArray[np.uint8]:
    """The product ``(num_bands, H, W)`` uint8 of a drawn date.

    Args:
        angle: rotation of the view, which the crop rows follow.
        texture: seed of the ground's texture (the same at both dates).
        noise: seed of the sensor's noise.
    """
    light = _light(drawn, look, angle, np.random.Generator(np.random.SFC64(texture)))
    spectra = (band_mixture(num_bands) @ (look.spectra * look.cast[:, None])).astype(np.float32)
    side = len(light) // SUPERSAMPLING
    image = np.empty((num_bands, side, side), dtype=np.float32)
    for band in range(num_bands):
        fine = spectra[band].take(drawn.material)
        fine *= light
        image[band] = fine[::2, ::2] + fine[1::2, ::2] + fine[::2, 1::2] + fine[1::2, 1::2]
    image *= 1 / SUPERSAMPLING**2
    veil = [0.5, 0.75, 1.0, *[0.35] * (num_bands - 3)]  # haze is blue
    image += look.haze * np.array(veil, dtype=np.float32)[:, None, None]
    # One gain and offset for all bands, as delivered products are stretched: band order stays.
    visible = image[:3]
    mean, spread = look.stretch or (float(visible.mean()), float(visible.std()))
    gain = min(look.contrast / max(spread, 1e-3), 6.0)
    image -= mean
    image *= gain
    image += look.exposure
    sensor = np.random.Generator(np.random.SFC64(noise))
    image += look.noise * sensor.standard_normal(image.shape, dtype=np.float32)
    bright = image > 0.8  # highlights roll off, so that a band that saturates keeps its order
    image[bright] = 1 - 0.2 * np.exp((0.8 - image[bright]) * 5)
    return (image.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _light(drawn: MaterialMap, look: Look, angle: float, rng: np.random.Generator) -> Array:
    """``(S, S)`` brightness of every point relative to its material: texture, tone and shadow."""
    material, side = drawn.material, len(drawn.material)
    light = value_noise(side, rng, cells=3, decay=0.6) * _TEXTURE[0].take(material)
    light += value_noise(side, rng, cells=40, decay=0.8) * _TEXTURE[1].take(material)
    density, corner = int(rng.integers(3)), rng.integers(side, size=2)
    crown = _TEXTURE[2].take(material)
    if crown.any():
        tile = crown_tile(side, 15 + 6 * density)
        tile = np.roll(tile, tuple(corner), axis=(1, 2))
        length = math.hypot(*look.sun)
        lean = tile[1] * (-look.sun[0] / length) + tile[2] * (-look.sun[1] / length)
        crown *= tile[0] + 0.4 * lean
        light += crown
    if drawn.rows.any():
        light += _row_texture(drawn.rows, look.row_cycles, angle)
    light += 1
    light *= _TONE.take(drawn.tone)
    light[drawn.shadow] *= 0.42
    return np.maximum(light, 0.05, out=light)


def _row_texture(rows: NDArray[np.uint8], cycles: float, angle: float) -> Array:
    side = len(rows)
    across = (np.arange(ROW_ANGLES + 1) - 1) * math.pi / ROW_ANGLES + angle + math.pi / 2
    wave = (2 * math.pi * cycles / side * np.stack([np.cos(across), np.sin(across)])).astype("f4")
    place = np.arange(side, dtype=np.float32)
    phase = wave[0].take(rows) * place + wave[1].take(rows) * place[:, None]
    return np.where(rows > 0, np.float32(0.17) * np.sin(phase), np.float32(0))


def value_noise(side: int, rng: np.random.Generator, *, cells: int, decay: float) -> Array:
    """``(side, side)`` noise of about unit variance: octaves from ``cells`` per scene to a pixel.

    The grid is doubled by interpolation and roughened in turn, which costs little more than the
    last octave.
    """
    levels = max(0, round(math.log2(side / cells)))
    corners = math.ceil(side / 2**levels) + 1
    grid = rng.standard_normal((corners, corners), dtype=np.float32)
    amplitude, power = 1.0, 0.5
    for _ in range(levels):
        twice = np.empty((2 * len(grid) - 1,) * 2, dtype=np.float32)
        twice[::2, ::2] = grid
        twice[1::2, ::2] = (grid[1:] + grid[:-1]) * 0.5
        twice[:, 1::2] = (twice[:, :-1:2] + twice[:, 2::2]) * 0.5
        grid, amplitude = twice, amplitude * decay
        grid += amplitude * rng.standard_normal(grid.shape, dtype=np.float32)
        power += amplitude**2 * 0.5
    return grid[:side, :side] / math.sqrt(power)


@lru_cache(maxsize=8)
def crown_tile(side: int, cells: int) -> Array:
    """A canopy that wraps around, ``(3, side, side)``: brightness of the crowns (about zero mean)
    and the x and y slope of their domes, -1 to 1."""
    rng = np.random.Generator(np.random.SFC64(cells))
    jitter = rng.uniform(0.1, 0.9, (2, cells, cells)).astype(np.float32)
    shade = rng.uniform(-0.22, 0.22, (cells, cells)).astype(np.float32)
    place = (np.arange(side, dtype=np.float32) + 0.5) * cells / side
    home = place.astype(np.int64)
    best = np.full((side, side), 9.0, dtype=np.float32)
    tile = np.zeros((3, side, side), dtype=np.float32)
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            at = np.ix_((home + i) % cells, (home + j) % cells)
            dy = place[:, None] - (home + i)[:, None] - jitter[0][at]
            dx = place[None, :] - (home + j)[None, :] - jitter[1][at]
            distance = dx * dx + dy * dy
            near = distance < best
            best[near] = distance[near]
            for layer, value in enumerate((shade[at], dx, dy)):
                tile[layer][near] = value[near]
    tile[0] += 0.35 - 1.6 * np.minimum(best, 0.6)
    return tile.clip(-1, 1)
