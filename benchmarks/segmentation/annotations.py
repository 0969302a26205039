"""Masks are read with their labels checked: mmsegmentation trains on whatever a file holds."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS
from numpy.typing import NDArray

from cmid.data.masks import (
    IGNORED,
    allowed_labels,
    describe_allowed,
    label_table,
    look_up,
    read_mask,
)

__all__ = ["LoadCheckedAnnotations", "label_table", "read_mask"]


@TRANSFORMS.register_module()
class LoadCheckedAnnotations(BaseTransform):
    """Read a mask in place of ``LoadAnnotations``, with the same result for a mask in order.

    Takes ``seg_map_path``, ``num_labels``, ``reduce_zero_label`` and ``label_map`` as the datasets
    of this room give them (with ``foreground``, if there is one), and ``ori_shape`` of the image, so
    it comes after an image was loaded.
    Adds ``gt_seg_map``, ``(H, W)`` uint8 of class indices and 255 for pixels to ignore, to which
    belong those that ``LoadRaster`` found ``missing``.

    Args:
        num_labels: number of classes that masks may hold, for datasets of other rooms.

    Raises:
        FileNotFoundError: there is no such mask.
        ValueError: it is no image, has several channels, another size than its image, or a label
            out of range; names the file and the value.
    """

    def __init__(self, num_labels: int | None = None) -> None:
        self.num_labels = num_labels

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        path = results["seg_map_path"]
        table = label_table(
            self.num_labels if self.num_labels is not None else results["num_labels"],
            reduce_zero_label=results["reduce_zero_label"],
            label_map=results["label_map"],
            foreground=results.get("foreground"),
        )
        stored = read_mask(path, labels=allowed_labels(table))
        if stored.shape != tuple(results["ori_shape"][:2]):
            raise ValueError(
                f"{path} is {stored.shape[0]} x {stored.shape[1]}, its image"
                f" {results['ori_shape'][0]} x {results['ori_shape'][1]}: they must have one size"
            )
        labels = _look_up(stored, table, path)
        if "missing" in results:
            labels[results["missing"]] = IGNORED
        results["gt_seg_map"] = labels
        results["seg_fields"] = [*results["seg_fields"], "gt_seg_map"]
        return results


def _look_up(stored: NDArray[Any], table: NDArray[np.int16], path: str) -> NDArray[np.uint8]:
    labels, wrong = look_up(stored, table)
    if wrong.any():
        value = int(stored[wrong][0])
        raise ValueError(
            f"{path} holds label {value} ({int(wrong.sum())} pixels out of range):"
            f" {describe_allowed(table, value)}"
        )
    return labels
