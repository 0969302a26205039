"""Masks are read with their labels checked: mmsegmentation trains on whatever a file holds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from mmcv.transforms import BaseTransform
from mmengine.logging import print_log
from mmseg.registry import TRANSFORMS

from benchmarks.openmmlab.eight_bits import check_eight_bits
from cmid.data.mask_survey import survey_masks
from cmid.data.masks import IGNORED, label_table, read_labels


@TRANSFORMS.register_module()
class LoadCheckedAnnotations(BaseTransform):
    """Read a mask in place of ``LoadAnnotations``, with the same result for a mask in order.

    Takes ``seg_map_path``, ``num_labels``, ``reduce_zero_label`` and ``label_map`` as the datasets
    of `benchmarks.segmentation` give them (and ``foreground``, if there is one), and ``ori_shape``
    of the image, so it comes after an image was loaded.
    Adds ``gt_seg_map``, ``(H, W)`` uint8 of class indices and 255 for pixels to ignore, to which
    belong those that ``LoadRaster`` found ``missing``.

    Args:
        num_labels: number of classes that masks may hold, for datasets that do not say it.

    Raises:
        FileNotFoundError: there is no such mask.
        ValueError: it is no image, has several channels, another size than its image, or a label
            out of range; names the file and the value. Or the image was read by OpenCV and is none
            for it, see `check_eight_bits`.
    """

    def __init__(self, num_labels: int | None = None) -> None:
        self.num_labels = num_labels

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        table = label_table(
            self.num_labels if self.num_labels is not None else results["num_labels"],
            reduce_zero_label=results["reduce_zero_label"],
            label_map=results["label_map"],
            foreground=results.get("foreground"),
        )
        image = ("its image", results["ori_shape"])
        labels = read_labels(results["seg_map_path"], table, image=image)
        if "missing" in results:
            labels[results["missing"]] = IGNORED
        elif "img_path" in results:
            check_eight_bits(results["img_path"])
        results["gt_seg_map"] = labels
        results["seg_fields"] = [*results["seg_fields"], "gt_seg_map"]
        return results


def survey_dataset(
    dataset: Any,
    masks: Sequence[str],
    *,
    num_labels: int,
    foreground: str = "foreground=255 of the dataset",
) -> None:
    """Log classes that no mask of a dataset of mmsegmentation holds.

    Args:
        masks: paths of its masks.
        num_labels: number of classes that they may hold.
        foreground: what makes 255 a class, for messages.

    Raises:
        ValueError: pixels are ignored, and all others of all masks are of one class.
    """
    line = survey_masks(
        masks,
        label_table(
            num_labels,
            reduce_zero_label=dataset.reduce_zero_label,
            label_map=dataset.label_map,
            foreground=getattr(dataset, "foreground", None),
        ),
        folder=dataset.data_prefix.get("seg_map_path") or dataset.data_root,
        names=dict(enumerate(dataset.metainfo["classes"])),
        foreground=foreground,
        from_one="reduce_zero_label=True of the dataset",
    )
    if line:
        print_log(line, logger="current", level=logging.WARNING)
