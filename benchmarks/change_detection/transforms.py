"""Transforms of pairs; crops, flips and resizing are mmsegmentation's own.

All eight symmetries of a square, each as often: ``RandomRotFlip(rotate_prob=0, flip_prob=1)``
(quarter turns with a reflection), then ``RandomFlip(prob=0.5)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module()
class EachDate(BaseTransform):
    """Apply transforms of colour to one date, then, with other random numbers, to the other.

    Args:
        transforms: mmcv's or mmsegmentation's, which change nothing but the values of ``img``.

    Raises:
        ValueError: a transform has changed the size of the image.
    """

    def __init__(self, transforms: Sequence[dict[str, Any]]) -> None:
        self.transforms = Compose(list(transforms))

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        pair = results["img"]
        dates = [
            np.atleast_3d(self.transforms({"img": np.ascontiguousarray(date)})["img"])
            for date in np.split(pair, 2, axis=-1)
        ]
        results["img"] = np.concatenate(dates, axis=-1)
        if results["img"].shape != pair.shape:
            raise ValueError(f"EachDate is for colour; {self.transforms} changed the size")
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(transforms={self.transforms})"


@TRANSFORMS.register_module()
@dataclass(eq=False)
class RandomDateSwap(BaseTransform):
    """Exchange the two dates: what has changed has changed either way.

    Args:
        prob: how often.
    """

    prob: float = 0.5

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        if np.random.random() < self.prob:
            first, second = np.split(results["img"], 2, axis=-1)
            results["img"] = np.concatenate([second, first], axis=-1)
        return results


@TRANSFORMS.register_module()
@dataclass(eq=False)
class CropRegion(BaseTransform):
    """Keep a part of a pair and of its label, as if the files held nothing else.

    Args:
        top, left, bottom, right: borders in pixels, the last two outside.

    Raises:
        ValueError: the region reaches over the image; names the file.
    """

    top: int
    left: int
    bottom: int
    right: int

    def __post_init__(self) -> None:
        if not (0 <= self.top < self.bottom and 0 <= self.left < self.right):
            rows = f"rows {self.top} to {self.bottom}"
            raise ValueError(f"no region of {rows}, columns {self.left} to {self.right}")

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        height, width = results["img"].shape[:2]
        if self.bottom > height or self.right > width:
            raise ValueError(
                f"{results['img_path']} is {height} x {width}: CropRegion reaches to row"
                f" {self.bottom}, column {self.right}"
            )
        part = slice(self.top, self.bottom), slice(self.left, self.right)
        for key in ("img", *results.get("seg_fields", ())):
            results[key] = np.ascontiguousarray(results[key][part])
        results["img_shape"] = results["ori_shape"] = results["img"].shape[:2]
        return results
