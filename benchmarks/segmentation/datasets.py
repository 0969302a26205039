"""Datasets of mmsegmentation whose files are checked before training starts.

`CheckedISPRS`, `CheckedPotsdam`, `CheckedLoveDA` and `CheckediSAID` are mmsegmentation's own
datasets; `ImageMaskFolder` is any other pair of ``img_dir`` and ``ann_dir``. All of them tell
``LoadCheckedAnnotations`` how many classes the masks may hold.

A dataset of mmsegmentation ignores the pixels of classes that ``metainfo`` leaves out:

    dataset = dict(type="CheckedPotsdam", metainfo=dict(classes=("building", "tree")), ...)
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from mmseg.datasets import BaseSegDataset, ISPRSDataset, LoveDADataset, PotsdamDataset, iSAIDDataset
from mmseg.registry import DATASETS

from benchmarks.openmmlab.annotations import survey_dataset
from cmid.data.folder import IMAGE_EXTENSIONS
from cmid.data.listing import files_by_name
from cmid.data.masks import MASK_EXTENSIONS
from cmid.data.raster_paths import RASTER_EXTENSIONS

_IMAGES = tuple(dict.fromkeys((*IMAGE_EXTENSIONS, *RASTER_EXTENSIONS)))


class CheckedFiles:
    """A dataset of mmsegmentation that refuses to be empty or to lack masks.

    Args:
        check_labels: look for classes that occur in no mask.
        **more: as of the dataset.

    Raises:
        FileNotFoundError: no folder, no image, or images without a mask; names the first.
        ValueError: pixels are ignored, and all others of all masks are of one class.
    """

    def __init__(self, *args: Any, check_labels: bool = True, **more: Any) -> None:
        self.check_labels = check_labels
        super().__init__(*args, **more)

    def load_data_list(self) -> list[dict[str, Any]]:
        """List the samples; each knows how many classes its mask may hold (``num_labels``)."""
        _check_folders(self)
        return _checked(self, super().load_data_list())  # type: ignore[misc]


@DATASETS.register_module()
class CheckedISPRS(CheckedFiles, ISPRSDataset):
    """ISPRS Vaihingen; masks hold 1 to 6, and 0 for pixels to ignore."""


@DATASETS.register_module()
class CheckedPotsdam(CheckedFiles, PotsdamDataset):
    """ISPRS Potsdam; masks hold 1 to 6, and 0 for pixels to ignore."""


@DATASETS.register_module()
class CheckedLoveDA(CheckedFiles, LoveDADataset):
    """LoveDA; masks hold 1 to 7, and 0 for pixels to ignore."""


@DATASETS.register_module()
class CheckediSAID(CheckedFiles, iSAIDDataset):
    """iSAID; masks hold 0 (background) to 15, and 255 for pixels to ignore."""


@DATASETS.register_module()
class ImageMaskFolder(BaseSegDataset):
    """Images and masks of one name but for the ending, at any depth of two folders.

    Masks hold 0 to K - 1 and 255 for pixels to ignore; with ``reduce_zero_label`` 1 to K, and 0 or
    255 for those. ``metainfo`` has to name the K classes (and may give a ``palette``).

    Args:
        data_root: folder above both.
        data_prefix: the folders of images and masks; without ``seg_map_path`` there are no masks.
        foreground: stored label of class 1 of two, such as 255 of masks that are black and white;
            then no pixel is ignored.
        check_labels: look for classes that occur in no mask.
        **more: as `mmseg.datasets.BaseSegDataset`; ``indices`` selects some of the sorted images.

    Raises:
        FileNotFoundError: no folder, no image, or images without a mask; names the first.
        ValueError: ``metainfo`` names no class; two images or masks of one name; or pixels are
            ignored, and all others of all masks are of one class.
    """

    def __init__(
        self,
        data_root: str,
        *,
        data_prefix: dict[str, str] | None = None,
        foreground: int | None = None,
        check_labels: bool = True,
        **more: Any,
    ) -> None:
        self.foreground = foreground
        self.check_labels = check_labels
        if not (more.get("metainfo") or {}).get("classes"):
            raise ValueError(f"the masks of {data_root} need names: set metainfo.classes")
        prefix = data_prefix or {"img_path": "img_dir", "seg_map_path": "ann_dir"}
        super().__init__(data_root=data_root, data_prefix=prefix, **more)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Pair images and masks by their paths without the ending."""
        _check_folders(self)
        images, masks = (self.data_prefix.get(key) for key in ("img_path", "seg_map_path"))
        known = {} if masks is None else files_by_name(Path(masks), MASK_EXTENSIONS)
        samples: list[dict[str, Any]] = []
        for name, path in files_by_name(Path(images), _IMAGES).items():
            sample = {
                "img_path": str(path),
                "label_map": self.label_map,
                "reduce_zero_label": self.reduce_zero_label,
                "foreground": self.foreground,
                "seg_fields": [],
            }
            if masks is not None:
                sample["seg_map_path"] = str(known.get(name, Path(masks, f"{name}.png")))
            samples.append(sample)
        if len(known) > len(samples):
            print_log(
                f"{masks}: {len(known) - len(samples)} masks belong to no image",
                logger="current",
                level=logging.WARNING,
            )
        return _checked(self, samples)


def _check_folders(dataset: Any) -> None:
    for key in ("img_path", "seg_map_path"):
        folder = dataset.data_prefix.get(key)
        if folder and not Path(folder).is_dir():
            raise FileNotFoundError(
                f"no folder {folder}: see data_root of the dataset, and {key} in its data_prefix"
            )


def _checked(dataset: Any, samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    folder = dataset.data_prefix["img_path"]
    if not samples:
        ending = ", ".join(_IMAGES) if isinstance(dataset, ImageMaskFolder) else dataset.img_suffix
        raise FileNotFoundError(f"{folder} holds no image ending in {ending}: see data_root")
    masks = [sample["seg_map_path"] for sample in samples if "seg_map_path" in sample]
    missing = [path for path in masks if not Path(path).is_file()]
    if missing:
        jpegs = [Path(missing[0]).with_suffix(ending) for ending in (".jpg", ".jpeg", ".JPG")]
        found = next((path.name for path in jpegs if path.is_file()), None)
        remedy = "add the masks, or take the images away"
        if found:
            remedy = f"{found} is no mask, JPEG changes labels: make the masks anew as PNG"
        raise FileNotFoundError(
            f"{len(missing)} of {len(samples)} images in {folder} have no mask, first {missing[0]}:"
            f" {remedy}"
        )
    classes = dataset.METAINFO.get("classes") or dataset.metainfo["classes"]
    for sample in samples:
        sample["num_labels"] = len(classes)
    if masks and dataset.check_labels:
        survey_dataset(dataset, masks, num_labels=len(classes))
    return samples
