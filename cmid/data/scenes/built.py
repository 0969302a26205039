"""Built-up land in generated scenes: one function for each land-use class.

Each sketches ground, then surfaces, then objects, and says of each object or surface at which of
the two dates it is there; so the changes belong to the class (new houses, ships that left).
"""

from __future__ import annotations

import math

from cmid.data.scenes.drawing import BOTH, NEUTRAL, REACH, Material
from cmid.data.scenes.objects import Sketch, anywhere, disc, rectangle, ribbon

M = Material


def junction(s: Sketch) -> None:
    """Roads that meet in a crossing, a fork or a roundabout, with lane marks and traffic."""
    rng = s.rng
    s.ground(M.GRASS, M.SOIL, M.CONCRETE, M.STUBBLE)
    for _ in range(rng.randint(3, 14)):
        s.tree(*anywhere(rng), rng.uniform(0.015, 0.035))
    corners = [(i, j) for i in (-1, 1) for j in (-1, 1)]
    for i, j in corners:
        if rng.random() < 0.5:
            s.fill(s.blob(i * 0.4, j * 0.4, 0.2), rng.choice((M.GRASS, M.CONCRETE, M.TREE, M.SOIL)))
    centre, arms = anywhere(rng, 0.1), rng.choice((3, 4, 4, 4, 5))
    width, turn = rng.uniform(0.09, 0.17), rng.uniform(-0.15, 0.15)
    angles = [turn + 2 * math.pi * k / arms + rng.uniform(-0.12, 0.12) for k in range(arms)]
    surface, tone = rng.choice((M.ASPHALT, M.ASPHALT, M.CONCRETE)), s.tone(8)
    for angle in angles:
        end = (centre[0] + 1.4 * math.cos(angle), centre[1] + 1.4 * math.sin(angle))
        s.road([centre, end], width, marked=True, material=surface, tone=tone)
    hub = width * (rng.uniform(1.3, 1.7) if rng.random() < 0.45 else 0.75)
    s.fill(disc(*centre, hub, corners=28), surface, tone=tone)
    if hub > width:
        s.fill(disc(*centre, hub - width * 0.6), rng.choice((M.GRASS, M.CONCRETE, M.TREE)))
    for i, j in corners:
        x, y = i * rng.uniform(0.33, 0.5), j * rng.uniform(0.33, 0.5)
        bearings = (math.atan2(y - centre[1], x - centre[0]) - angle for angle in angles)
        clear = min(abs(math.sin(turn)) if math.cos(turn) > 0 else 1.0 for turn in bearings)
        if clear * math.hypot(x - centre[0], y - centre[1]) > width / 2 + 0.13:
            size = (rng.uniform(0.1, 0.2), rng.uniform(0.08, 0.16))
            s.building(x, y, size, 0, s.occupancy(0.5))
    length = rng.uniform(0.04, 0.055)
    for angle in angles:
        for k in range(rng.randint(4, 8)):
            along, side = hub + 0.06 + 0.095 * k + rng.uniform(0, 0.03), rng.choice((-1, 1))
            x = centre[0] + along * math.cos(angle) - side * width / 4 * math.sin(angle)
            y = centre[1] + along * math.sin(angle) + side * width / 4 * math.cos(angle)
            s.car(x, y, length, angle, s.occupancy(0.4, turnover=0.7))


def residential(s: Sketch) -> None:
    """Houses in lots along a grid of streets, from scattered in gardens to wall to wall."""
    rng = s.rng
    density = rng.random()
    s.ground(M.GRASS, M.SOIL, *((M.CONCRETE, M.CONCRETE) if density > 0.6 else (M.GRASS,)))
    lot, street = 0.24 - 0.12 * density, rng.uniform(0.035, 0.06)
    depth = lot * rng.uniform(0.9, 1.3)
    fill, present = rng.uniform(0.45, 0.55) + 0.3 * density, 0.6 + 0.35 * density
    greens = round(26 * (1 - density)) + rng.randint(0, 6)
    for _ in range(greens):
        s.tree(*anywhere(rng), rng.uniform(0.015, 0.04))
    surface, y, row = rng.choice((M.ASPHALT, M.CONCRETE, M.ASPHALT)), -REACH, 0
    if surface == M.CONCRETE and density > 0.6:
        surface = M.ASPHALT
    cross = rng.uniform(-0.4, 0.4)
    s.road([(cross, -REACH), (cross, REACH)], street, marked=False, material=surface)
    while y < REACH:
        if row % 2 == 0:
            s.road(
                [(-REACH, y), (REACH, y)], street, marked=False, material=surface, tone=s.tone(4)
            )
            y += street / 2
        x = -REACH + lot * rng.random()
        while x < REACH:
            size = (lot * fill * rng.uniform(0.8, 1.15), depth * fill * rng.uniform(0.75, 1.1))
            site = (x + lot * rng.uniform(-0.04, 0.04), y + depth / 2)
            if abs(site[0] - cross) > street / 2 + size[0] / 2:
                roomy = max(size) < 0.85 * min(lot, depth)
                turn = rng.choice((0.0, 0.0, math.pi / 2)) if roomy else 0.0
                s.building(*site, size, turn, s.occupancy(present, turnover=0.2))
            x += lot
        y += depth + (street / 2 if row % 2 else 0)
        row += 1


def harbour(s: Sketch) -> None:
    """A quay with warehouses, piers into the water and ships at their berths."""
    rng = s.rng
    s.ground(M.WATER)
    quay, marina = rng.uniform(-0.4, -0.1), rng.random() < 0.5
    surface = rng.choice((M.CONCRETE, M.ASPHALT, M.CONCRETE))
    s.fill(rectangle(0, quay - 1, 4, 2), surface, tone=s.tone(8), height=0.01)
    s.road([(-REACH, quay - 0.36), (REACH, quay - 0.36)], 0.06, marked=True, tone=NEUTRAL - 10)
    x = -REACH
    while x < REACH:
        size = (rng.uniform(0.12, 0.26), rng.uniform(0.08, 0.15))
        s.building(x + size[0] / 2, quay - 0.2, size, 0, s.occupancy(0.7))
        s.building(x + size[0] / 2, quay - 0.52, (size[0] * 0.8, 0.12), 0, s.occupancy(0.6))
        x += size[0] + rng.uniform(0.03, 0.12)
    length = rng.uniform(0.1, 0.14) if marina else rng.uniform(0.19, 0.28)
    reach, step = rng.uniform(0.4, 0.65), length * (2.6 if marina else 1.4) + 0.03
    x = -REACH + step * rng.random()
    while x < REACH:
        s.fill(rectangle(x, quay + reach / 2, 0.03, reach), M.CONCRETE, height=0.01)
        y, beam = quay + (0.06 if marina else length * 0.6), length * 0.36
        while y < quay + reach:
            for side in (-1, 1):
                away = 0.02 + (length if marina else beam) / 2
                heading = (0.0 if side > 0 else math.pi) if marina else math.pi / 2
                s.ship(x + side * away, y, length, heading, s.occupancy(0.62, turnover=0.45))
            y += beam * 1.25 if marina else length * 1.12
        x += step
    for _ in range(rng.randint(0, 2)):
        spot = (rng.uniform(-0.4, 0.4), rng.uniform(quay + reach + 0.15, 0.8))
        s.ship(*spot, length, rng.uniform(0, 6.28), s.occupancy(0.8, turnover=0.9))


def airport(s: Sketch) -> None:
    """A marked runway, a taxiway and an apron with planes parked before a terminal."""
    rng = s.rng
    s.ground(M.GRASS, M.SOIL, M.STUBBLE, M.GRASS)
    surface = rng.choice((M.ASPHALT, M.CONCRETE))
    runway, width = rng.uniform(0.24, 0.38), rng.uniform(0.1, 0.15)
    tone = s.tone(7)
    s.road([(-REACH, runway), (REACH, runway)], width, marked=True, tone=tone)
    threshold = rng.uniform(-0.4, 0.4)
    for k in range(6):
        bar = rectangle(threshold, runway + width * (k - 2.5) / 7, 0.08, width / 14)
        s.fill(bar, M.PAINT)
    taxiway = rng.uniform(0.02, 0.1)
    s.road([(-REACH, taxiway), (REACH, taxiway)], 0.05, marked=False, tone=tone)
    for x in (rng.uniform(-0.5, -0.2), rng.uniform(0.2, 0.5)):
        s.road([(x, taxiway), (x + 0.1, runway)], 0.05, marked=False, tone=tone)
    left, right = rng.uniform(-0.9, -0.4), rng.uniform(0.4, 0.9)
    apron = rectangle((left + right) / 2, -0.14, right - left, 0.34)
    s.fill(apron, surface, tone=s.tone(8))
    size = (right - left) * rng.uniform(0.5, 0.9), rng.uniform(0.09, 0.15)
    s.building((left + right) / 2, -0.36, size, 0, BOTH, height=0.03)
    for x in (left, right):
        s.building(x, -0.5, (rng.uniform(0.12, 0.2), 0.12), 0, s.occupancy(0.6), height=0.04)
    length = rng.uniform(0.14, 0.22)
    x, turn = left + length * 0.6, math.pi / 2 + rng.uniform(-0.5, 0.5)
    while x < right - length / 2:
        s.plane(x, -0.17, length, -turn, s.occupancy(0.75, turnover=0.5))
        x += length * rng.uniform(1.08, 1.3)
    s.plane(rng.uniform(-0.4, 0.4), runway, length, 0.0, s.occupancy(0.5, turnover=0.8))


def storage_tanks(s: Sketch) -> None:
    """Cylinders in rows inside earth walls, with pipes and service roads."""
    rng = s.rng
    s.ground(M.CONCRETE, M.SOIL, M.GRASS, M.ROCK)
    step = rng.uniform(0.2, 0.36)
    wall, floor = (
        rng.choice((M.SOIL, M.CONCRETE, M.GRASS)),
        rng.choice((M.ROCK, M.CONCRETE, M.SOIL)),
    )
    radius, offset = step * rng.uniform(0.28, 0.42), anywhere(rng, 0.1)
    count = math.ceil(0.8 / step)
    road = rng.randint(-1, 1)
    for j in range(-count, count + 1):
        y = offset[1] + j * step + (0.04 if j >= road else -0.04)
        pipe = [(-REACH, y + step / 2 - 0.01), (REACH, y + step / 2 - 0.01)]
        s.fill(ribbon(pipe, 0.012), M.PAINT, tone=NEUTRAL - 8)
        for i in range(-count, count + 1):
            x = offset[0] + i * step
            if not s.view.sees((x, y), step):
                continue
            s.fill(rectangle(x, y, step * 0.93, step * 0.93), wall, tone=NEUTRAL + 7)
            s.fill(rectangle(x, y, step * 0.86, step * 0.86), floor, tone=s.tone(4))
            if rng.random() < 0.12:
                size = (step * rng.uniform(0.4, 0.7), step * rng.uniform(0.3, 0.6))
                s.building(x, y, size, 0, s.occupancy(0.9))
            else:
                s.tank(x, y, radius * rng.uniform(0.75, 1.1), s.occupancy(0.88))
    y = offset[1] + (road - 0.5) * step
    s.road([(-REACH, y), (REACH, y)], 0.07, marked=True)
