"""Rows of options in which any two values of two options meet, and backbones to train."""

from __future__ import annotations

import random
from itertools import combinations
from typing import Any

# Backbones of a few thousand weights.
BACKBONES: dict[str, dict[str, Any]] = {
    "resnet18": {"layers": [1, 1, 1, 1], "channels": [8, 16, 24, 32]},
    "vit_tiny_patch16_224": {"depth": 1, "embed_dim": 24, "num_heads": 2},
    "swin_tiny_patch4_window7_224": {
        "depths": [1, 1, 1, 1],
        "embed_dim": 16,
        "num_heads": [1, 2, 2, 4],
    },
}


def covering_rows(options: dict[str, tuple[str, ...]], seed: int = 0) -> list[dict[str, str]]:
    """Rows that hold every pair of values; the next value is the one that covers most new pairs."""
    draw = random.Random(seed)
    names = list(options)
    missing = {
        ((a, x), (b, y)) for a, b in combinations(names, 2) for x in options[a] for y in options[b]
    }

    def new_pairs(row: dict[str, str], name: str, value: str) -> int:
        order = names.index
        return sum(
            tuple(sorted([(name, value), (other, row[other])], key=lambda e: order(e[0])))
            in missing
            for other in row
        )

    rows = []
    while missing:
        row = dict(min(missing))
        rest = [name for name in names if name not in row]
        draw.shuffle(rest)
        for name in rest:
            values = list(options[name])
            draw.shuffle(values)
            row[name] = max(values, key=lambda value: new_pairs(row, name, value))
        missing -= {((a, row[a]), (b, row[b])) for a, b in combinations(names, 2)}
        rows.append({name: row[name] for name in names})
    return rows
