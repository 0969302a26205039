"""Transforms of pairs; crops, flips and resizing are mmsegmentation's own.

All eight symmetries of a square, each as often: ``RandomRotFlip(rotate_prob=0, flip_prob=1)``
(quarter turns with a reflection), then ``RandomFlip(prob=0.5)``.
"""

from __future__ import annotations

from collections.abc import Sequence
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
class RandomDateSwap(BaseTransform):
    """Exchange the two dates: what has changed has changed either way.

    Args:
        prob: how often.
    """

    def __init__(self, prob: float = 0.5) -> None:
        self.prob = prob

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        if np.random.random() < self.prob:
            first, second = np.split(results["img"], 2, axis=-1)
            results["img"] = np.concatenate([second, first], axis=-1)
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(prob={self.prob})"


@TRANSFORMS.register_module()
class CropRegion(BaseTransform):
    """Keep a part of a pair and of its label, as if the files held nothing else.

    Args:
        top, left, bottom, right: borders in pixels, the last two outside.

    Raises:
        ValueError: the region reaches over the image; names the file.
    """

    def __init__(self, top: int, left: int, bottom: int, right: int) -> None:
        if not (0 <= top < bottom and 0 <= left < right):
            raise ValueError(f"no region of rows {top} to {bottom}, columns {left} to {right}")
        self.box = top, left, bottom, right

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        top, left, bottom, right = self.box
        height, width = results["img"].shape[:2]
        if bottom > height or right > width:
            raise ValueError(
                f"{results['img_path']} is {height} x {width}: CropRegion reaches to row {bottom},"
                f" column {right}"
            )
        for key in ("img", *results.get("seg_fields", ())):
            results[key] = np.ascontiguousarray(results[key][top:bottom, left:right])
        results["img_shape"] = results["ori_shape"] = (bottom - top, right - left)
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self.box}"
