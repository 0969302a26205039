"""What dense features are measured on: images with a mask each."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from lightning.fabric import Fabric

from cmid.checkpoints.backbones import Backbone
from cmid.data.segmentation import ChosenMasks, SegmentationFolder
from cmid.data.source import Draws, Image, ImageSource, MinSize
from cmid.data.splits import TEST_FOLDERS
from cmid.evaluation.config import ComparisonConfig
from cmid.evaluation.dense import dense_results
from cmid.evaluation.tasks import Evaluation


class _Pictures(ImageSource):
    """Images without their masks."""

    def __init__(self, chosen: ChosenMasks) -> None:
        self._chosen, self.files = chosen, chosen.images
        folder = chosen.folder
        self.num_bands, self.band_names = folder.num_bands, folder.band_names
        self.sensor = folder.sensor
        if folder.tiles is not None:  # what tells features of these bands from others
            self.bands, self.usual = folder.tiles.bands, folder.tiles.usual

    def __len__(self) -> int:
        return len(self._chosen)

    def decode(self, index: int, min_size: MinSize, generator: Draws) -> Image:
        """Read an image as `ImageSource.read` promises."""
        return self._chosen.folder.image(self._chosen.indices[index])


class TestedMasks:
    """Images in ``img_dir/`` with masks in ``ann_dir/``, both with a train/ and a test part.

    Without parts they are divided at random, four to one. Attributes are those of `TestedImages`.

    Raises:
        ValueError, OSError: as `SegmentationFolder`; or nobody says how many classes there are.
    """

    __test__ = False  # no test of pytest

    def __init__(self, config: ComparisonConfig) -> None:
        self.config = config
        classes = 2 if config.foreground is not None else config.num_classes
        if classes is None:
            raise ValueError(f"{config.data} holds masks: say of how many classes, --num_classes")
        if config.tasks and "dense" not in config.tasks:
            raise ValueError(f"{config.data} holds masks: only --tasks dense can be measured there")
        self.num_classes = classes
        self.left_out = {
            task: "it needs labels of whole images" for task in config.tasks if task != "dense"
        }
        self.train, self.test = self._parts(Path(config.data))
        self.num_bands = self.train.folder.num_bands
        self._describe()

    def _describe(self) -> None:
        names = "\n".join(map(str, self.test.images))
        self.about: dict[str, Any] = {
            "data": self.config.data,
            "train_images": len(self.train),
            "test_images": len(self.test),
            "test_digest": hashlib.sha256(names.encode()).hexdigest(),
        }

    def measure(self, fabric: Fabric, backbone: Backbone) -> Evaluation | None:
        """Scores on the first process, None on the others."""
        for part in (self.train, self.test):
            names = part.folder.sensor, part.folder.band_names
            backbone.standardize.statistics.check_bands(*names)
        if not fabric.is_global_zero:
            return None
        found = dense_results(
            backbone,
            self.train,
            self.test,
            num_classes=self.num_classes,
            seed=self.config.seed,
            progress=f"{backbone.name}: dense",
        )
        return Evaluation({**found}, {})

    def images(self) -> tuple[ImageSource, ImageSource]:
        """Training and test images."""
        return _Pictures(self.train), _Pictures(self.test)

    def keep(self, indices: list[int]) -> None:
        """Leave all but some test images out."""
        self.test = ChosenMasks(self.test.folder, [self.test.indices[k] for k in indices])
        self._describe()

    def _parts(self, root: Path) -> tuple[ChosenMasks, ChosenMasks]:
        names = [name for name in TEST_FOLDERS if (root / "img_dir" / name).is_dir()]
        if self.config.test:
            return ChosenMasks(self._folder(root)), ChosenMasks(
                self._folder(Path(self.config.test))
            )
        if names and (root / "img_dir" / "train").is_dir():
            return ChosenMasks(self._folder(root, "train")), ChosenMasks(
                self._folder(root, names[0])
            )
        folder = self._folder(root)
        order = np.random.default_rng(self.config.seed).permutation(len(folder))
        train, test = np.split(order, [round(0.8 * len(order))])
        return ChosenMasks(folder, sorted(train.tolist())), ChosenMasks(
            folder, sorted(test.tolist())
        )

    def _folder(self, root: Path, part: str | None = None) -> SegmentationFolder:
        config = self.config
        return SegmentationFolder(
            root,
            part=part,
            num_classes=self.num_classes,
            zero_ignored=config.zero_ignored,
            foreground=config.foreground,
            bands=config.bands,
            sensor=config.sensor,
        )
