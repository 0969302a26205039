"""Masks are read with their labels checked: mmsegmentation trains on whatever a file holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

IGNORED = 255
_INVALID = -1


@TRANSFORMS.register_module()
class LoadCheckedAnnotations(BaseTransform):
    """Read a mask in place of ``LoadAnnotations``, with the same result for a mask in order.

    Takes ``seg_map_path``, ``num_labels``, ``reduce_zero_label`` and ``label_map`` as the datasets
    of this room give them, and ``ori_shape`` of the image, so it comes after an image was loaded.
    Adds ``gt_seg_map``, ``(H, W)`` uint8 of class indices and 255 for pixels to ignore, to which
    belong those that ``LoadRaster`` found ``missing``.

    Raises:
        FileNotFoundError: there is no such mask.
        ValueError: it is no image, has several channels, another size than its image, or a label
            out of range; names the file and the value.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        path = results["seg_map_path"]
        stored = read_mask(path)
        if stored.shape != tuple(results["ori_shape"][:2]):
            raise ValueError(
                f"{path} is {stored.shape[0]} x {stored.shape[1]}, its image"
                f" {results['ori_shape'][0]} x {results['ori_shape'][1]}: they must have one size"
            )
        table = label_table(
            results["num_labels"],
            reduce_zero_label=results["reduce_zero_label"],
            label_map=results["label_map"],
        )
        labels = _look_up(stored, table, path)
        if "missing" in results:
            labels[results["missing"]] = IGNORED
        results["gt_seg_map"] = labels
        results["seg_fields"] = [*results["seg_fields"], "gt_seg_map"]
        return results


def read_mask(path: str) -> NDArray[Any]:
    """Read a mask of one channel, ``(H, W)`` of whole numbers; a palette gives its indices.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no image, several channels, or fractions.
    """
    try:
        with PillowImage.open(path) as picture:
            stored = np.array(picture)
    except FileNotFoundError:
        raise FileNotFoundError(f"no mask {path}: add it, or take its image away") from None
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{path} is no readable mask ({error}): replace it") from error
    if stored.ndim != 2:
        raise ValueError(
            f"{path} has {stored.shape[2]} channels: a mask has one, of class indices;"
            " tools/prepare_segmentation.py converts colours"
        )
    if not (stored.dtype == bool or np.issubdtype(stored.dtype, np.integer)):
        raise ValueError(f"{path} holds {stored.dtype}: a mask holds whole numbers")
    return stored


def label_table(
    num_labels: int, *, reduce_zero_label: bool = False, label_map: Mapping[int, int] | None = None
) -> NDArray[np.int16]:
    """``(256,)``: the class of each stored label, 255 for ignored ones, -1 for those not allowed.

    Args:
        num_labels: number of classes that masks may hold.
        reduce_zero_label: they are stored from 1, and 0 is ignored.
        label_map: new indices of the classes, as mmsegmentation makes it.
    """
    table = np.full(256, _INVALID, dtype=np.int16)
    table[IGNORED] = IGNORED
    classes = [(label_map or {}).get(label, label) for label in range(num_labels)]
    if reduce_zero_label:
        classes = [IGNORED, *classes]
    table[: len(classes)] = classes
    return table


def _look_up(stored: NDArray[Any], table: NDArray[np.int16], path: str) -> NDArray[np.uint8]:
    wide = stored.astype(np.int64)
    labels = np.where((wide < 0) | (wide > 255), _INVALID, table[wide & 255])
    wrong = labels == _INVALID
    if wrong.any():
        highest = int(np.flatnonzero(table[:IGNORED] != _INVALID).max())
        raise ValueError(
            f"{path} holds label {int(stored[wrong][0])} ({int(wrong.sum())} pixels out of range):"
            f" allowed are 0 to {highest}, and 255 for pixels to ignore"
        )
    return labels.astype(np.uint8)
