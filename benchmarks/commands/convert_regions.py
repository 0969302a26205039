"""Turn detection annotations into region texts: JSON in the form of MGRS-200k.

    python tools/convert_regions.py --coco train.json --images train --out train_texts.json
    python tools/convert_regions.py --dota data/dota --out dota_texts.json

Every object becomes a region with its category and, where one is true of it alone, a phrase ("the
largest ship"); every image gets captions that tell counts and places. Images without objects are
left out and counted. Read the result with

    source:
      class_path: cmid.vision_language.data.RegionTexts
      init_args: {path: OUT, root: IMAGES}
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cmid.command_line import command
from cmid.options import option


@dataclass(frozen=True)
class RegionsConfig:
    """Annotations of detection, and the file of region texts that they become.

    Attributes:
        coco: annotations in COCO's form.
        dota: folder with images/ and labelTxt/ (also of DIOR-R).
        images: folder of the images (default: that of FILE; DIR/images).
        out: JSON file to write.
        seed: random seed of the wording.
        on_error: a faulty image or box: stop, or count and leave out.
    """

    coco: Path | None = option(None, metavar="FILE")
    dota: Path | None = option(None, metavar="DIR")
    images: Path | None = None
    out: Path = option()
    seed: int = 0
    on_error: Literal["error", "skip"] = "error"

    def __post_init__(self) -> None:
        if (self.coco is None) == (self.dota is None):
            raise ValueError("give either --coco FILE or --dota DIR")


@command(RegionsConfig, memory="the number of annotations", skip="--on_error skip")
def main(config: RegionsConfig) -> None:
    """Convert, print what came out."""
    from tqdm import tqdm

    from cmid.vision_language.data.coco import read_coco
    from cmid.vision_language.data.conversion import existing_images, write_region_texts
    from cmid.vision_language.data.problems import Problems

    if config.coco is not None:
        problems = Problems(config.coco, config.on_error)
        folder = config.images or config.coco.parent
        images = read_coco(config.coco, problems)
    else:
        from cmid.vision_language.data.dota import read_dota

        assert config.dota is not None  # one of them is given
        problems = Problems(config.dota, config.on_error)
        folder = config.images or config.dota / "images"
        images = read_dota(folder, config.dota / "labelTxt", problems)
    try:
        present = existing_images(images, folder, problems)
        counts = write_region_texts(tqdm(present, unit="image"), config.out, seed=config.seed)
    finally:
        problems.report()  # what was skipped may be why nothing is left
    print(f"{config.out}: {counts}")
