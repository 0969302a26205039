"""Images with a class for every pixel."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from cmid.data.decoding import read_image
from cmid.data.folder import IMAGE_EXTENSIONS, find_files, open_tiles
from cmid.data.mask_survey import survey_masks
from cmid.data.masks import MASK_EXTENSIONS, label_table, read_labels
from cmid.data.raster_paths import RASTER_EXTENSIONS
from cmid.data.sensors import Sensor
from cmid.data.source import Image

logger = logging.getLogger(__name__)


class SegmentationFolder:
    """Images and masks of one name but for the ending, as OpenMMLab lays them.

    They lie below ``img_dir/`` and ``ann_dir/``, at the same place or, where that tells them apart,
    at any. Masks without an image are counted and reported, and so are classes that no mask holds.

    Args:
        root: folder that holds both.
        part: sub-folder of both (``train``), if there is one.
        num_classes: masks hold 0 to ``num_classes - 1``, and 255 for pixels to ignore.
        zero_ignored: they hold 1 to ``num_classes``, and 0 or 255 for pixels to ignore.
        foreground: stored label of class 1 of two, such as 255 of black and white masks; then no
            pixel is ignored.
        check_labels: look for classes that occur in no mask.
        bands, sensor: read images that are rasters of any bands, see `cmid.data.ImageFolder`.

    Attributes:
        num_bands, band_names, sensor: see `cmid.data.source.ImageSource`.

    Raises:
        FileNotFoundError: a folder is missing or empty, or an image has no mask; names the first.
        ValueError: two images or two masks of one name; pixels are ignored, and all others of
            all masks are of one class; or the first raster lacks one of ``bands``.
        ModuleNotFoundError: ``bands`` or ``sensor`` need rasterio, which is not installed.
    """

    num_bands = 3
    band_names: tuple[str, ...] = ()
    sensor = ""

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        num_classes: int,
        part: str | None = None,
        zero_ignored: bool = False,
        foreground: int | None = None,
        check_labels: bool = True,
        bands: Sequence[int | str] | None = None,
        sensor: str | Sensor | None = None,
    ) -> None:
        self.num_classes = num_classes
        self.table = label_table(num_classes, reduce_zero_label=zero_ignored, foreground=foreground)
        images, masks = (Path(root) / name / (part or "") for name in ("img_dir", "ann_dir"))
        pictures = bands is None and sensor is None
        endings = IMAGE_EXTENSIONS if pictures else RASTER_EXTENSIONS
        self.images = [images / path for path in find_files(images, endings)]
        if not self.images:
            raise FileNotFoundError(f"{images} holds no image ending in {', '.join(endings)}")
        self.tiles = open_tiles(self.images[0], bands=bands, sensor=sensor)
        if self.tiles is not None:
            self.num_bands = self.tiles.num_bands
            self.band_names, self.sensor = self.tiles.band_names, self.tiles.sensor
        self.masks = _paired(self.images, images, masks)
        line = check_labels and survey_masks(
            self.masks,
            self.table,
            folder=masks,
            names={number: f"class {number}" for number in range(num_classes)},
            foreground="foreground=255 (--foreground 255)",
            from_one="zero_ignored (--zero_ignored)",
        )
        if line:
            logger.warning(line)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Image ``(C, H, W)`` uint8 or float32, and mask as `read`; likewise what is raised."""
        image, mask = self.read(index)
        return image.pixels, mask

    def image(self, index: int) -> Image:
        """An image of ``num_bands``.

        Raises:
            UnreadableImageError, ImageValuesError: as `read_image`, or `RasterTiles.read`.
        """
        if self.tiles is None:
            return read_image(self.images[index], num_bands=self.num_bands)
        return self.tiles.read(self.images[index])

    def read(self, index: int) -> tuple[Image, Tensor]:
        """An image, and its mask ``(H, W)`` uint8, 255 where ignored.

        Raises:
            UnreadableImageError, ImageValuesError: as `image`.
            ValueError: the mask has another size, several channels, fractions, or a class out of
                range; names the file.
        """
        image = self.image(index)
        size = image.pixels.shape[1:]
        mask = read_labels(self.masks[index], self.table, image=("its image", size))
        return image, torch.from_numpy(mask)


def _paired(images: Sequence[Path], image_folder: Path, mask_folder: Path) -> list[Path]:
    """The mask of each image: the one at its place, else the only one of its stem."""
    places: dict[Path, Path] = {}
    stems: dict[str, list[Path]] = {}
    for found in find_files(mask_folder, MASK_EXTENSIONS):
        path, place = mask_folder / found, Path(found).with_suffix("")
        if place in places:
            raise ValueError(f"{places[place]} and {path} have one name: take one away")
        places[place] = path
        stems.setdefault(place.name, []).append(path)
    twice, number = Counter(path.with_suffix("") for path in images).most_common(1)[0]
    if number > 1:
        raise ValueError(f"{number} images are named {twice}, with other endings: keep one")
    alone = Counter(path.stem for path in images)
    masks, missing = [], []
    for path in images:
        mask = places.get(path.relative_to(image_folder).with_suffix(""))
        others = stems.get(path.stem, [])
        if mask is None and len(others) == 1 and alone[path.stem] == 1:
            mask = others[0]
        missing += [path] if mask is None else []
        masks += [] if mask is None else [mask]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} images have no mask, first {missing[0]}: {mask_folder} has"
            f" {len(places)} masks ({', '.join(MASK_EXTENSIONS)}), and names have to agree"
        )
    if len(places) > len(masks):
        first = min({*places.values()} - {*masks})
        logger.warning(
            "%s: %d masks belong to no image, first %s",
            mask_folder,
            len(places) - len(masks),
            first,
        )
    return masks


class ChosenMasks:
    """Some images of a folder with their masks, read when they are asked for; by default all."""

    def __init__(self, folder: SegmentationFolder, indices: Sequence[int] | None = None) -> None:
        self.folder = folder
        self.indices = range(len(folder)) if indices is None else indices
        self.images = [folder.images[index] for index in self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Image, Tensor]:
        """As `SegmentationFolder.read`."""
        return self.folder.read(self.indices[index])


def select(folder: SegmentationFolder, indices: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """Read some images with their masks."""
    return [folder[index] for index in indices]
