"""Open country and shores in generated scenes: one function for each land-use class.

Each sketches ground, then surfaces, then objects, and says of each object or surface at which of
the two dates it is there; so the changes belong to the class (harvest, clear-cut, flood).
"""

from __future__ import annotations

import math
import random

from cmid.data.scenes.drawing import BOTH, FIRST, NEUTRAL, REACH, SECOND, Material, Point
from cmid.data.scenes.objects import Sketch, anywhere, disc, rectangle, ribbon, rows_along

M = Material


def farmland(s: Sketch) -> None:
    """A patchwork of fields with rows, divided by tracks or hedges; sometimes a farm."""
    rng = s.rng
    s.ground(M.GRASS, M.SOIL, M.TREE, M.STUBBLE)
    shear, gap = rng.uniform(-0.35, 0.35), rng.uniform(0.006, 0.02)
    crops = rng.sample((M.CROP, M.CROP, M.STUBBLE, M.SOIL, M.GRASS), 3)
    pivot = rng.random() < 0.25
    box = (-REACH, -REACH, REACH, REACH)
    for x0, y0, x1, y1 in _patchwork(rng, box, rng.uniform(0.15, 0.36)):
        x, y, width, height = (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0 - gap, y1 - y0 - gap
        field = [(u + shear * v, v) for u, v in rectangle(x, y, width, height)]
        direction = 0.0 if width > height else math.atan2(1, shear)
        tone, rows = s.tone(11), rows_along(direction) * (rng.random() < 0.8)
        crop = rng.choice(crops)
        if pivot and min(width, height) > 0.2:
            s.fill(field, M.SOIL, tone=s.tone(5))
            field = disc(x + shear * y, y, min(width, height) * 0.48, corners=32)
        s.fill(field, crop, tone=tone, rows=rows)
        if rng.random() < 0.22:  # harvested, ploughed or grown until the second date
            later = rng.choice([m for m in (M.CROP, M.STUBBLE, M.SOIL) if m != crop])
            s.fill(field, later, tone=s.tone(11), rows=rows, dates=SECOND)
    if rng.random() < 0.4:
        x, y = rng.uniform(-0.35, 0.35), rng.uniform(-0.35, 0.35)
        s.fill(s.blob(x, y, 0.13), M.GRASS)
        for k in range(rng.randint(1, 3)):
            site = (x + 0.09 * (k - 1), y + rng.uniform(-0.02, 0.02))
            s.building(*site, (0.07, rng.uniform(0.04, 0.06)), 1.57, s.occupancy(0.9))


def forest(s: Sketch) -> None:
    """Closed canopy of stands, with clearings, a track, and clear-cuts at the second date."""
    rng = s.rng
    s.ground(M.TREE)
    for _ in range(rng.randint(1, 4)):
        s.fill(s.blob(*anywhere(rng), rng.uniform(0.15, 0.4)), M.TREE, tone=s.tone(9))
    for _ in range(rng.choice((0, 0, 1, 2))):
        opening = rng.choice((M.GRASS, M.SOIL, M.SHRUB))
        s.fill(s.blob(*anywhere(rng), rng.uniform(0.05, 0.13)), opening, tone=s.tone(8))
    if rng.random() < 0.4:
        track = s.winding(rng.uniform(-0.3, 0.3), 0.08)
        s.fill(ribbon(track, rng.uniform(0.015, 0.035)), rng.choice((M.SOIL, M.GRASS, M.ROCK)))
    for _ in range(rng.choice((0, 1, 1, 1, 2, 2))):
        cut = rectangle(*anywhere(rng, 0.4), rng.uniform(0.12, 0.3), rng.uniform(0.1, 0.25))
        s.fill(cut, rng.choice((M.SOIL, M.STUBBLE)), tone=s.tone(8), dates=SECOND)


def inland_water(s: Sketch) -> None:
    """A winding river or a lake in open country, with banks, groves and perhaps a bridge."""
    rng = s.rng
    s.ground(M.GRASS, M.SOIL, M.STUBBLE, M.CROP)
    for _ in range(rng.randint(3, 7)):
        patch = rng.choice((M.GRASS, M.CROP, M.SOIL, M.TREE, M.TREE, M.STUBBLE))
        outline = s.blob(*anywhere(rng, 0.7), rng.uniform(0.1, 0.3))
        s.fill(outline, patch, tone=s.tone(8))
        if rng.random() < 0.15:  # felled or ploughed
            s.fill(outline, M.STUBBLE if patch == M.SOIL else M.SOIL, dates=SECOND)
    bank = rng.choice((M.SAND, M.TREE, M.TREE, M.GRASS, M.SHRUB))
    if rng.random() < 0.7:
        line, width = s.winding(rng.uniform(-0.12, 0.12), rng.uniform(0.07, 0.2)), 0.0
        widths = [rng.uniform(0.12, 0.26)] * len(line)
        phase = rng.uniform(0, 6)
        widths = [w * (1 + 0.25 * math.sin(k * 0.7 + phase)) for k, w in enumerate(widths)]
        s.fill(ribbon(line, [w + rng.uniform(0.02, 0.05) for w in widths]), bank, tone=s.tone(6))
        s.fill(ribbon(line, widths), M.WATER)
        if rng.random() < 0.4:
            x, width = line[rng.randint(9, 15)][0], rng.uniform(0.035, 0.06)
            built = s.occupancy(1.0)
            crossing = [(x, -REACH), (x, REACH)]
            s.fill(ribbon(crossing, width), M.CONCRETE, height=0.03, dates=built)
    else:
        centre, radius = anywhere(rng, 0.15), rng.uniform(0.2, 0.36)
        shore = s.blob(0, 0, radius)
        for grow, material in ((1.12, bank), (1.0, M.WATER)):
            s.fill([(centre[0] + grow * x, centre[1] + grow * y) for x, y in shore], material)
        if rng.random() < 0.3:
            s.fill(s.blob(*centre, radius * 0.2), M.TREE)
    if rng.random() < 0.75:  # a flood, or a bank that dries out
        stage = rng.choice((M.SAND, M.WATER))
        s.fill(s.blob(*anywhere(rng, 0.3), rng.uniform(0.06, 0.14)), stage, dates=SECOND)
    for _ in range(rng.randint(0, 12)):
        s.tree(*anywhere(rng), rng.uniform(0.012, 0.025))


def beach(s: Sketch) -> None:
    """Sea with breakers, a strip of sand, and dunes or a promenade behind it."""
    rng = s.rng
    s.ground(M.WATER)
    shore = s.winding(rng.uniform(-0.15, 0.2), rng.uniform(0.02, 0.07), steps=41)
    strip, away = rng.uniform(0.14, 0.34), 0.0

    def shifted(distance: float, wobble: float = 0.0) -> list[Point]:
        return [(x, y + distance + rng.uniform(-wobble, wobble)) for x, y in shore]

    for _ in range(rng.randint(1, 4)):
        away += rng.uniform(0.03, 0.09)
        widths = [max(0.0, rng.uniform(-0.012, 0.024)) for _ in shore]
        s.fill(ribbon(shifted(-away, 0.006), widths), M.FOAM)
    land = [*shore, (REACH, 2.0), (-REACH, 2.0)]
    s.fill(ribbon(shifted(0.0), 0.025), M.FOAM)
    s.fill(land, M.SAND, tone=NEUTRAL - 10)  # wet sand
    s.fill([*shifted(rng.uniform(0.02, 0.05)), *land[-2:]], M.SAND)
    behind = rng.choice((M.GRASS, M.SHRUB, M.TREE, M.CONCRETE, M.SOIL))
    s.fill([*shifted(strip, 0.015), *land[-2:]], behind)
    if rng.random() < 0.5:
        s.road(shifted(strip + 0.05), 0.05, marked=False)
    for _ in range(rng.randint(0, 16)):
        x = rng.uniform(-0.8, 0.8)
        s.tree(x, rng.uniform(strip + 0.2, 0.9), rng.uniform(0.012, 0.03))
    for k in range(-3, 4) if rng.random() < 0.4 else ():
        size = (rng.uniform(0.1, 0.16), rng.uniform(0.07, 0.12))
        s.building(k * 0.24, shore[20][1] + strip + 0.22, size, 0, s.occupancy(0.7, turnover=0.4))
    if rng.random() < 0.65:  # a breakwater that was built or removed
        x, dates = rng.uniform(-0.35, 0.35), rng.choice((FIRST, SECOND, BOTH))
        wall = rectangle(x, shore[20][1] - 0.08, 0.035, rng.uniform(0.2, 0.4))
        s.fill(wall, M.ROCK, dates=dates, height=0.01)
    if rng.random() < 0.5:
        dune = s.blob(rng.uniform(-0.3, 0.3), shore[20][1] + strip, rng.uniform(0.05, 0.1))
        s.fill(dune, rng.choice((M.SHRUB, M.SAND)), dates=SECOND)


def bare_soil(s: Sketch) -> None:
    """Open ground of soil, rock and sand with gullies, scattered shrubs and tracks."""
    rng = s.rng
    main = s.ground(M.SOIL, M.SOIL, M.ROCK, M.SAND)
    for _ in range(rng.randint(2, 5)):
        patch = rng.choice((main, main, M.SOIL, M.ROCK, M.SAND))
        s.fill(s.blob(*anywhere(rng), rng.uniform(0.1, 0.3)), patch, tone=s.tone(6))
    for _ in range(rng.randint(0, 2)):
        _gully(s, rng.uniform(-0.5, 0.5), -REACH, math.pi / 2, rng.uniform(0.012, 0.026))
    for _ in range(rng.choice((0, 12, 30, 60, 90))):
        x, y = anywhere(rng)
        if s.view.sees((x, y), 0.02):
            bush = disc(x, y, rng.uniform(0.006, 0.016), corners=6)
            s.fill(bush, M.SHRUB, tone=s.tone(10), height=0.008)
    if rng.random() < 0.3:
        s.fill(ribbon(s.winding(rng.uniform(-0.3, 0.3), 0.1), 0.02), M.SOIL, tone=NEUTRAL + 12)
    event = rng.random()
    if event < 0.35:
        s.fill(s.blob(*anywhere(rng, 0.35), rng.uniform(0.05, 0.12)), M.WATER, dates=SECOND)
    elif event < 0.65:
        track = ribbon(s.winding(rng.uniform(-0.25, 0.25), 0.05), 0.04)
        s.fill(track, M.ASPHALT, dates=SECOND)
    elif event < 0.9:
        s.building(*anywhere(rng, 0.35), (0.14, 0.09), rng.uniform(0, 3), rng.choice((1, 2)))


def _gully(s: Sketch, x: float, y: float, heading: float, width: float) -> None:
    line = [(x, y)]
    while abs(line[-1][0]) < 1.1 and line[-1][1] < REACH and len(line) < 26:
        heading += s.rng.uniform(-0.45, 0.45) + 0.15 * (math.pi / 2 - heading)
        tip = line[-1]
        line.append((tip[0] + 0.08 * math.cos(heading), tip[1] + 0.08 * math.sin(heading)))
        if width > 0.012 and s.rng.random() < 0.12:
            _gully(s, *tip, heading + s.rng.choice((-0.8, 0.8)), width * 0.6)
    s.fill(ribbon(line, width), Material.SOIL, tone=NEUTRAL - 8)


def _patchwork(
    rng: random.Random, box: tuple[float, float, float, float], smallest: float
) -> list[tuple[float, float, float, float]]:
    """Cut a rectangle into fields, always across its longer side."""
    x0, y0, x1, y1 = box
    width, height = x1 - x0, y1 - y0
    if max(width, height) < 2 * smallest or (max(width, height) < 0.7 and rng.random() < 0.2):
        return [box]
    cut = rng.uniform(0.35, 0.65)
    if width > height:
        x = x0 + cut * width
        halves = ((x0, y0, x, y1), (x, y0, x1, y1))
    else:
        y = y0 + cut * height
        halves = ((x0, y0, x1, y), (x0, y, x1, y1))
    return [part for half in halves for part in _patchwork(rng, half, smallest)]
