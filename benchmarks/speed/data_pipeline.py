"""512-pixel JPEGs to two 224-pixel views: images per CPU-second of one process.

Compares a plain PIL and torchvision pipeline of two views with ours: decode once (at a reduced
scale where the crops allow it), cut both views as uint8 with their matrices; and with colour on the
batch included. All are timed in turn, round by round, on the same files.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from PIL import Image
from torch.utils.data import default_collate
from torchvision import transforms as tv

from benchmarks.speed.table import ratio, show
from cmid.command_line import command
from cmid.data import MILLION_AID, ImageFolder
from cmid.data.scenes import generate_scene
from cmid.options import at_least
from cmid.views import DeviceViews, TwoViews, ViewColourConfig


@dataclass(frozen=True)
class PipelineConfig:
    """What is timed.

    Attributes:
        images: different JPEG files.
        rounds: timed rounds, after one warm-up round.
        size: pixels per side of the JPEGs.
        out: JSON file.
    """

    images: Annotated[int, at_least(1)] = 48
    rounds: Annotated[int, at_least(1)] = 5
    size: Annotated[int, at_least(1)] = 512
    out: str | None = None


def pil_pipelines() -> dict[str, Callable[[Image.Image], list[torch.Tensor]]]:
    """The usual two-view pipelines: with colour, and geometry alone."""
    geometry = [
        tv.RandomResizedCrop(224, scale=(0.3, 1), interpolation=tv.InterpolationMode.BICUBIC),
        tv.RandomHorizontalFlip(),
    ]
    colour = [
        tv.RandomApply([tv.ColorJitter(0.4, 0.4, 0.2, 0.1)], 0.8),
        tv.GaussianBlur(7, (0.1, 2.0)),
        tv.RandomSolarize(128, 0.2),
        tv.RandomGrayscale(0.2),
    ]
    end = [tv.ToTensor(), tv.Normalize(MILLION_AID.mean, MILLION_AID.std)]
    weak, strong = tv.Compose(geometry + end), tv.Compose(geometry + colour + end)
    bare = tv.Compose([*geometry, tv.PILToTensor()])
    return {
        "PIL + torchvision, two views with colour": lambda image: [weak(image), strong(image)],
        "PIL + torchvision, two uint8 crops": lambda image: [bare(image), bare(image)],
    }


def candidates(folder: Path) -> dict[str, Callable[[], object]]:
    """Name to a call that processes every file once."""
    source = ImageFolder(folder)
    paths = sorted(folder.glob("*.jpg"))
    cutter, device_views = TwoViews(size=224), DeviceViews(ViewColourConfig(), MILLION_AID)

    def with_pil(transform: Callable[[Image.Image], object]) -> Callable[[], object]:
        return lambda: [transform(Image.open(path).convert("RGB")) for path in paths]

    def cut() -> list[dict[str, object]]:
        return [cutter.sample(source, i, np.random.default_rng(i)) for i in range(len(source))]

    calls = {name: with_pil(transform) for name, transform in pil_pipelines().items()}
    calls["ours: decode + two uint8 views with matrices"] = cut
    calls["ours: the same + colour of the batch (eager, CPU)"] = lambda: device_views(
        default_collate(cut())
    )
    return calls


def write_images(folder: Path, count: int, size: int) -> None:
    for i in range(count):
        scene = generate_scene(i, size=size).image.permute(1, 2, 0).numpy()
        Image.fromarray(scene).save(folder / f"{i:04}.jpg", quality=90)


@command(PipelineConfig, memory="--images or --size")
def main(config: PipelineConfig) -> None:
    """Time every pipeline and show the table."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder, config.images, config.size)
        calls = candidates(folder)
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(config.rounds + 1):
            for name, call in calls.items():
                start = time.process_time()
                call()
                seconds[name].append(time.process_time() - start)
    base = next(iter(calls))
    rows = []
    for name, times in seconds.items():
        speed = config.images / statistics.median(times[1:])
        ratios = ratio("ratio to the first", seconds[base], times)
        rows.append({"pipeline": name, "images / CPU-second": speed, **ratios})
    show(rows, config)


if __name__ == "__main__":
    main()
