"""Datasets of mmsegmentation whose files are checked before training starts.

`CheckedISPRS`, `CheckedPotsdam`, `CheckedLoveDA` and `CheckediSAID` are mmsegmentation's own
datasets; `ImageMaskFolder` is any other pair of ``img_dir`` and ``ann_dir``. All of them tell
``LoadCheckedAnnotations`` how many classes the masks may hold.

A dataset of mmsegmentation ignores the pixels of classes that ``metainfo`` leaves out:

    dataset = dict(type="CheckedPotsdam", metainfo=dict(classes=("building", "tree")), ...)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmseg.datasets import BaseSegDataset, ISPRSDataset, LoveDADataset, PotsdamDataset, iSAIDDataset
from mmseg.registry import DATASETS

from cmid.data.folder import IMAGE_EXTENSIONS, find_files
from cmid.data.raster import RASTER_EXTENSIONS

_IMAGES = tuple(dict.fromkeys((*IMAGE_EXTENSIONS, *RASTER_EXTENSIONS)))
_MASKS = (".png", ".tif", ".tiff", ".bmp")


class CheckedFiles:
    """A dataset of mmsegmentation that refuses to be empty or to lack masks.

    Raises:
        FileNotFoundError: no image, or images without a mask; names the first.
    """

    def load_data_list(self) -> list[dict[str, Any]]:
        """List the samples; each knows how many classes its mask may hold (``num_labels``)."""
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
        **more: as `mmseg.datasets.BaseSegDataset`; ``indices`` selects some of the sorted images.

    Raises:
        FileNotFoundError: no image, or images without a mask; names the first.
        ValueError: ``metainfo`` names no class.
    """

    def __init__(
        self, data_root: str, *, data_prefix: dict[str, str] | None = None, **more: Any
    ) -> None:
        if not (more.get("metainfo") or {}).get("classes"):
            raise ValueError(f"the masks of {data_root} need names: set metainfo.classes")
        prefix = data_prefix or {"img_path": "img_dir", "seg_map_path": "ann_dir"}
        super().__init__(data_root=data_root, data_prefix=prefix, **more)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Pair images and masks by their paths without the ending."""
        images, masks = (self.data_prefix.get(key) for key in ("img_path", "seg_map_path"))
        known = {}
        if masks is not None:
            known = {Path(path).with_suffix(""): path for path in find_files(Path(masks), _MASKS)}
        samples: list[dict[str, Any]] = []
        for path in find_files(Path(images), _IMAGES):
            sample = {
                "img_path": str(Path(images, path)),
                "label_map": self.label_map,
                "reduce_zero_label": self.reduce_zero_label,
                "seg_fields": [],
            }
            if masks is not None:
                name = Path(path).with_suffix("")
                sample["seg_map_path"] = str(Path(masks, known.get(name, f"{name}.png")))
            samples.append(sample)
        return _checked(self, samples)


def _checked(dataset: Any, samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    folder = dataset.data_prefix["img_path"]
    if not samples:
        ending = dataset.img_suffix if isinstance(dataset, CheckedFiles) else ", ".join(_IMAGES)
        raise FileNotFoundError(f"{folder} holds no image ending in {ending}: see data_root")
    masks = [sample["seg_map_path"] for sample in samples if "seg_map_path" in sample]
    missing = [path for path in masks if not Path(path).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(samples)} images in {folder} have no mask, first {missing[0]}:"
            " add the masks, or take the images away"
        )
    classes = dataset.METAINFO.get("classes") or dataset.metainfo["classes"]
    for sample in samples:
        sample["num_labels"] = len(classes)
    return samples
