"""Images and masks as a dataset of mmsegmentation loads them (extra ``openmmlab``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmid.data.masks import IGNORED
from cmid.data.values import require_8bit
from cmid.vision_language.prompts.vocabularies import ClassList


class DatasetMasks:
    """The images of a dataset of mmsegmentation with their masks.

    Args:
        dataset: a dataset whose pipeline ends where ``img`` and ``gt_seg_map`` are loaded.
        bgr: whether its images come as BGR, as those of ``LoadPicture`` do.
    """

    def __init__(self, dataset: Any, *, bgr: bool = True) -> None:
        self.dataset, self.bgr = dataset, bgr

    @property
    def classes(self) -> ClassList:
        """The dataset's own names, in the order of its labels."""
        return ClassList(tuple(name.replace("_", " ") for name in self.dataset.metainfo["classes"]))

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Image ``(3, H, W)`` uint8 in RGB and mask ``(H, W)`` uint8, 255 where ignored.

        Raises:
            FileNotFoundError, ValueError: as the dataset raises; an image that is not three
                bands of uint8, or has another size than its mask, by name.
        """
        sample = self.dataset[index]
        image, mask = sample["img"], sample["gt_seg_map"]
        require_8bit(np.atleast_3d(image).transpose(2, 0, 1), sample["img_path"], bands=3)
        if image.shape[:2] != mask.shape:
            raise ValueError(f"{sample['img_path']} is {image.shape[:2]}, its mask {mask.shape}")
        if mask.min(initial=0) < 0 or mask.max(initial=0) > IGNORED:
            raise ValueError(
                f"the mask of {sample['img_path']} holds labels {mask.min()} to {mask.max()}:"
                f" allowed are 0 to {IGNORED}"
            )
        rgb = image[..., ::-1] if self.bgr else image
        pixels = torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)))
        return pixels, torch.from_numpy(mask.astype(np.uint8))


def open_dataset(config: str, *, part: str | None = None) -> DatasetMasks:
    """The dataset of a configuration of mmsegmentation, ours or anyone's.

    Only the loading steps of its pipeline run: images keep their size. Masks are read with their
    labels checked, also where the configuration has mmsegmentation's own ``LoadAnnotations``.

    Args:
        config: a Python file of mmengine's form.
        part: ``train``, ``val`` or ``test``; by default the first of test, val that there is.

    Raises:
        ModuleNotFoundError: the extra ``openmmlab`` is missing.
        FileNotFoundError: no such file, or no data where it says.
        ValueError: no such part, a dataset without a pipeline of its own, or masks in which only
            ignored pixels and one class occur.
    """
    from mmengine.config import Config
    from mmengine.registry import DefaultScope
    from mmseg.registry import DATASETS
    from mmseg.utils import register_all_modules

    # Registers LoadCheckedAnnotations, too.
    from benchmarks.openmmlab.annotations import survey_dataset

    if not Path(config).is_file():
        raise FileNotFoundError(f"no configuration {config}")
    content = Config.fromfile(config)
    names = [part] if part else ["test", "val"]
    loaders = [content.get(f"{name}_dataloader") for name in names]
    dataset = next((loader["dataset"] for loader in loaders if loader), None)
    if dataset is None:
        raise ValueError(f"{config} has no data for {' or '.join(names)}: choose another --part")
    if not dataset.get("pipeline"):
        raise ValueError(f"{config}: {dataset['type']} has no pipeline; name a plain dataset")
    steps = [step for step in dataset["pipeline"] if "Load" in str(step["type"])]
    register_all_modules(init_default_scope=False)
    with DefaultScope.overwrite_default_scope("mmseg"):
        known = getattr(DATASETS.get(dataset["type"]), "METAINFO", {}).get("classes")
        count = len(known or dataset.get("metainfo", {}).get("classes", ()))
        # mmsegmentation's own reader keeps the low byte of wide labels.
        checked = {"type": "LoadCheckedAnnotations", "num_labels": count}
        steps = [checked if step == {"type": "LoadAnnotations"} else step for step in steps]
        built = DATASETS.build({**dataset, "pipeline": steps, "test_mode": True})
    if checked in steps:
        masks = [built.get_data_info(index).get("seg_map_path") for index in range(len(built))]
        survey_dataset(
            built,
            [path for path in masks if path],
            num_labels=count,
            foreground="type='ImageMaskFolder' and foreground=255 of the dataset",
        )
    return DatasetMasks(built, bgr=not any("LoadRaster" in str(step["type"]) for step in steps))
