"""Datasets of image pairs with changed pixels marked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmseg.datasets import BaseCDDataset
from mmseg.registry import DATASETS

from benchmarks.change_detection.files import FOLDERS, find_pairs

_META = {"classes": ("unchanged", "changed"), "palette": [[0, 0, 0], [255, 255, 255]]}


@DATASETS.register_module()
class ChangePairs(BaseCDDataset):
    """Pairs and labels of one name but for the ending, at any depth of three folders.

    ``data_root`` holds ``A``, ``B`` and ``label`` (or what ``folders`` calls them). Divisions are
    either folders above (``data_root="levir/train"``) or lists of names (``ann_file``).

    Args:
        data_root, folders: see ``root`` and ``folders`` of `find_pairs`.
        ann_file: list of names, one a line, relative to ``data_root``; by default every pair.
        label_threshold: labels of at least this value are changed, for those stored as JPEG. By
            default they hold 0 and 1, or 0 and 255, and anything else is an error.
        **more: as every dataset of mmengine; ``indices`` selects some of the sorted pairs.

    Raises:
        FileNotFoundError, ValueError: as `find_pairs`.
    """

    METAINFO = _META

    def __init__(
        self,
        data_root: str,
        *,
        folders: Sequence[str] = FOLDERS,
        ann_file: str = "",
        label_threshold: int | None = None,
        **more: Any,
    ) -> None:
        self.folders = folders
        self.names = Path(data_root, ann_file) if ann_file else None
        self.label_threshold = label_threshold
        super().__init__(data_root=data_root, **more)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Match the files of the three folders."""
        pairs = find_pairs(Path(self.data_root), folders=self.folders, names=self.names)
        return [
            {
                "img_path": str(pair.first),
                "img_path2": str(pair.second),
                "seg_map_path": str(pair.label),
                "label_threshold": self.label_threshold,
            }
            for pair in pairs
        ]


@DATASETS.register_module()
class MarkedPair(BaseCDDataset):
    """One pair of rasters, some of whose pixels are marked as changed or unchanged.

    Args:
        data_root: folder of the four files.
        img_path, img_path2: the dates.
        changed_path, unchanged_path: masks that are not 0 where pixels are marked.
        **more: as every dataset of mmengine. ``RepeatDataset`` around it makes an epoch of so many
            random windows.

    Raises:
        FileNotFoundError: one of the files is missing.
    """

    METAINFO = _META

    def __init__(
        self,
        data_root: str,
        *,
        img_path: str,
        img_path2: str,
        changed_path: str,
        unchanged_path: str,
        **more: Any,
    ) -> None:
        names = {
            "img_path": img_path,
            "img_path2": img_path2,
            "changed_path": changed_path,
            "unchanged_path": unchanged_path,
        }
        self.files = {key: str(Path(data_root, name)) for key, name in names.items()}
        super().__init__(data_root=data_root, **more)

    def load_data_list(self) -> list[dict[str, Any]]:
        """One sample: the pair."""
        for key, path in self.files.items():
            if not Path(path).is_file():
                raise FileNotFoundError(f"no {path}: set data_root or {key}")
        return [dict(self.files)]
