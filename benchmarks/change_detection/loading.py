"""Reading of pairs and of labels, which are checked."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from numpy.typing import NDArray

from cmid.data.masks import IGNORED, read_mask


@TRANSFORMS.register_module()
class LoadPair(BaseTransform):
    """Read two dates as one image with the bands of the second behind those of the first.

    Takes ``img_path`` and ``img_path2``. Adds ``img`` ``(H, W, 2C)``, ``img_shape`` and
    ``ori_shape``, and ``missing`` ``(H, W)`` bool where the loader gives it: either date's.

    Args:
        loader: transform that reads one image; by default ``LoadPicture``, 8-bit BGR. Other
            imagery: ``dict(type="LoadRaster", bands=...)``.

    Raises:
        ValueError: the dates differ in size, number of bands or type; names both files. Or as the
            loader.
    """

    def __init__(self, loader: dict[str, Any] | None = None) -> None:
        self.loader = TRANSFORMS.build(loader or {"type": "LoadPicture"})

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        paths = results["img_path"], results["img_path2"]
        dates = [self.loader({"img_path": path}) for path in paths]
        first, second = (np.atleast_3d(date["img"]) for date in dates)
        if first.shape != second.shape or first.dtype != second.dtype:
            raise ValueError(
                f"{paths[0]} is {_form(first)}, {paths[1]} is {_form(second)}: the dates of a pair"
                " must agree"
            )
        results["img"] = np.concatenate([first, second], axis=-1)
        results["img_shape"] = results["ori_shape"] = first.shape[:2]
        missing = [date["missing"] for date in dates if "missing" in date]
        if missing:
            results["missing"] = np.logical_or.reduce(missing)
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(loader={self.loader})"


@TRANSFORMS.register_module()
class LoadChangeLabel(BaseTransform):
    """Read a label of 0 and 1, or of 0 and 255, as 0 (unchanged) and 1 (changed).

    Takes ``seg_map_path`` and ``label_threshold`` of `ChangePairs` and comes after `LoadPair`. Adds
    ``gt_seg_map``, ``(H, W)`` uint8, 255 where the images are ``missing``.

    Raises:
        ValueError: no image, colours, another size than the pair's, or another value while there is
            no threshold; names the file and the value.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        path, threshold = results["seg_map_path"], results["label_threshold"]
        stored = _read_mask(path, results)
        changed = _changed(stored, path) if threshold is None else stored >= threshold
        return _add_label(results, changed.astype(np.uint8))


@TRANSFORMS.register_module()
class LoadMarkedPixels(BaseTransform):
    """Read the masks of changed and of unchanged pixels as one label.

    Takes ``changed_path`` and ``unchanged_path`` and comes after `LoadPair`. Adds ``gt_seg_map``,
    ``(H, W)`` uint8: 1 changed, 0 unchanged, 255 for pixels that neither marks.

    Raises:
        ValueError: no image, colours, another size than the pair's, or a pixel marked as both.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        paths = results["changed_path"], results["unchanged_path"]
        changed, unchanged = (_read_mask(path, results) != 0 for path in paths)
        both = int((changed & unchanged).sum())
        if both:
            raise ValueError(f"{paths[0]} and {paths[1]} both mark {both} pixels: correct one")
        label = np.full(changed.shape, IGNORED, dtype=np.uint8)
        label[unchanged], label[changed] = 0, 1
        return _add_label(results, label)


def _read_mask(path: str, results: dict[str, Any]) -> NDArray[Any]:
    """``(H, W)`` of whole numbers or bool, of the size of the pair."""
    pair = f"its pair {results['img_path']} is", results["ori_shape"]
    return read_mask(path, what="label", grey_colours=True, image=pair)


def _changed(stored: NDArray[Any], path: str) -> NDArray[np.bool_]:
    values = np.unique(stored).astype(int).tolist()
    if not (set(values) <= {0, 1} or set(values) <= {0, 255}):
        odd = next((value for value in values if value not in (0, 1, 255)), None)
        fault = f"value {odd}" if odd is not None else "both 1 and 255"
        raise ValueError(
            f"{path} holds {fault} ({len(values)} values): a label holds 0 and 1, or 0 and 255; for"
            " labels stored as JPEG set label_threshold=128 of the dataset"
        )
    return stored != 0


def _add_label(results: dict[str, Any], label: NDArray[np.uint8]) -> dict[str, Any]:
    if "missing" in results:
        label[results["missing"]] = IGNORED
    results["gt_seg_map"] = label
    results["seg_fields"] = ["gt_seg_map"]
    return results


def _form(image: NDArray[Any]) -> str:
    height, width, bands = image.shape
    return f"{height} x {width} with {bands} bands of {image.dtype}"
