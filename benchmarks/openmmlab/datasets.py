"""Labelled images of any source of ours as a dataset of mmengine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS
from numpy.typing import NDArray

from cmid.data import ChannelStatistics, open_split
from cmid.data.checked import CheckedSource
from cmid.data.classes import known_labels


@DATASETS.register_module()
class LabelledImages(BaseDataset):
    """One part of what `cmid.data.open_split` opens, decoded for a pipeline of mmpretrain.

    Folders, lists, HDF5, GeoTIFFs and generated scenes alike; a single folder is divided as by
    ``tools/finetune.py``. Each sample enters the pipeline with ``img`` (``(H, W, C)``, RGB and not
    BGR, of the stored type), ``img_shape``, ``ori_shape`` and ``gt_label``: no loading transform.

    Args:
        root: the images; ``scenes`` are generated.
        part: which of the two.
        test: the test part, where ``root`` is only the training part.
        train_share, split_seed: share of training images and random seed of a division.
        num_scenes, scene_size: number and side in pixels of generated scenes.
        bands, sensor: read rasters of any bands, see `cmid.data.ImageFolder`.
        statistics: fields of the `cmid.data.ChannelStatistics` that the data preprocessor's mean
            and std belong to, as ``tools/train.py --backbone`` sets them; by default those of 8-bit
            images.
        pipeline, test_mode: see mmengine's ``BaseDataset``.

    Raises:
        FileNotFoundError, ValueError: as `cmid.data.open_split`.
        ImageValuesError: (when it is read) an image that does not fit ``statistics``.
    """

    def __init__(
        self,
        root: str,
        part: Literal["train", "test"],
        *,
        test: str | None = None,
        train_share: float = 0.8,
        split_seed: int = 0,
        num_scenes: int = 2000,
        scene_size: int = 64,
        bands: Sequence[int | str] | None = None,
        sensor: str | None = None,
        statistics: Mapping[str, Any] | None = None,
        pipeline: Sequence[dict[str, Any] | Callable[..., Any]] = (),
        test_mode: bool = False,
    ) -> None:
        if part not in ("train", "test"):
            raise ValueError(f"part must be 'train' or 'test', not {part!r}")
        parts = open_split(
            root,
            test,
            train_share=train_share,
            seed=split_seed,
            num_scenes=num_scenes,
            scene_size=scene_size,
            bands=bands,
            sensor=sensor,
        )
        source = parts[part == "test"]
        known = ChannelStatistics.of_8bit(source.num_bands)
        if statistics is not None:
            known = ChannelStatistics.from_mapping(statistics)
        self.source = CheckedSource(source, known)
        super().__init__(
            metainfo={"classes": tuple(self.source.classes)},
            pipeline=list(pipeline),
            test_mode=test_mode,
            serialize_data=False,
        )

    @property
    def CLASSES(self) -> tuple[str, ...]:  # noqa: N802
        """Names of the classes, where mmpretrain looks for them."""
        return tuple(self.metainfo["classes"])

    def labels(self) -> NDArray[np.int64]:
        """``(N,)`` classes of the images, which are read only where the source does not know."""
        known = known_labels(self.source.source)
        if known is None:
            known = np.array([self.source[index].label for index in range(len(self.source))])
        return known

    def load_data_list(self) -> list[dict[str, Any]]:
        """Number the images; pixels are read when they are asked for."""
        return [{"index": index} for index in range(len(self.source))]

    def prepare_data(self, idx: int) -> Any:
        """Read one image and run the pipeline on it."""
        image = self.source[self.get_data_info(idx)["index"]]
        pixels = image.pixels.permute(1, 2, 0).contiguous().numpy()
        shape = pixels.shape[:2]
        return self.pipeline(
            {
                "img": pixels,
                "img_shape": shape,
                "ori_shape": shape,
                "gt_label": image.label,
                "sample_idx": idx,
            }
        )
