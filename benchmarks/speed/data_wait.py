"""How long a training loop waits for images: the loop with the loader, and with one batch held."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice, repeat
from pathlib import Path

from lightning.fabric.utilities import move_data_to_device

from benchmarks.speed.data_pipeline import write_images
from benchmarks.speed.device import Clock
from cmid.data import ImageFolder
from cmid.data.pretrain import PretrainData
from cmid.data.source import Draws, Image, ImageSource, MinSize, WrappedSource
from cmid.views import DeviceViews, TwoViews, Views

GENERATED = 256  # JPEGs, of 512 pixels


class Repeated(WrappedSource):
    """A source over and over, so that an epoch is long enough to be measured.

    Args:
        length: number of images, each time round counted.
    """

    def __init__(self, source: ImageSource, length: int) -> None:
        super().__init__(source)
        self.length = length

    def __len__(self) -> int:
        return self.length

    def decode(self, index: int, min_size: MinSize, generator: Draws) -> Image:
        return super().decode(index % len(self.source), min_size, generator)


@contextmanager
def folder_of_images(given: str | None, count: int = GENERATED) -> Iterator[ImageSource]:
    """The images of a folder, else generated scenes as JPEGs, which go afterwards."""
    if given is not None:
        yield ImageFolder(given)
        return
    with tempfile.TemporaryDirectory() as name:
        write_images(Path(name), count, 512)
        yield ImageFolder(name)


def data_wait(
    step: Callable[[Views], object],
    make_views: DeviceViews,
    source: ImageSource,
    *,
    size: int,
    batch: int,
    workers: int,
    steps: int,
    clock: Clock,
) -> dict[str, float]:
    """Images per second of the loop with the loader, and the share of it that the loader costs.

    Time spent in the loader is no measure of it: a GPU may be at work meanwhile.

    Args:
        step: a step on views.
        make_views: the device's half of the views, which both loops make.
        source: images that the workers read.
        size: pixels per side of a view.
        batch: images per step.
        workers: processes that read.
        steps: timed steps, after those on the batches that the workers read ahead.
        clock: that of the step, so that nothing waits for the device between its parts.
    """
    ahead = 2 * workers + 1
    images = Repeated(source, (1 + ahead + steps) * batch)
    data = PretrainData(images, TwoViews(size=size), batch_size=batch, num_workers=workers)
    batches = iter(data.train_dataloader())
    held = next(batches)

    def loop(read: Iterable[dict[str, object]]) -> None:
        for each in read:
            step(make_views(move_data_to_device(each, clock.device)))

    loop(islice(batches, ahead))
    clock.time("loader", lambda: loop(islice(batches, steps)))
    clock.time("held", lambda: loop(repeat(held, steps)))
    (with_loader,), (without,) = clock.parts["loader"], clock.parts["held"]
    return {
        "images/s with loader": steps * batch / with_loader,
        "data wait": max(0.0, 1 - without / with_loader),
    }
