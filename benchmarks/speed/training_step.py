"""The whole CMID step against its floor: a row for each backbone, memory format and compilation.

    python -m benchmarks.speed.training_step --channels_last false true --compile none blocks whole

The floor is the bare timm backbone at the same batch: two forwards and backwards, and two forwards
without gradient. It is eager, in the memory format of the step; both are timed in turn, in pairs,
and the median of the pairs' ratios counts. Beside a compiled step stands a second floor, compiled
likewise and timed afterwards: the ratio to the eager one also holds what compilation saves the
backbone. Each row also tells the speed over the eager one of its backbone, images per second, and
the share of the peak of matrix products that the step's operations reach (measured in the same
run; the operations are those of an eager step). On a GPU also peak memory, of the step alone. With
``--workers`` also the share of the time that the training loop waits for images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Annotated, Any, Literal

import timm
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.data_wait import data_wait, folder_of_images
from benchmarks.speed.device import (
    DEVICE,
    Clock,
    Precision,
    autocast,
    matrix_peak,
    on_gpu,
    peak_gib,
    release,
)
from benchmarks.speed.table import keep, ratio, show
from cmid.command_line import command
from cmid.data.source import ImageSource
from cmid.memory import keep_freed_memory
from cmid.methods import CMID
from cmid.methods.compilation import compile_backbone, repeated_blocks
from cmid.models.encoder import skeleton
from cmid.optimization import OptimizerConfig, build_optimizer
from cmid.options import at_least
from cmid.views import Views

Switch = Literal["false", "true"]
Compilation = Literal["none", "blocks", "whole"]
OUT_OF_MEMORY = "out of memory"


@dataclass(frozen=True)
class StepConfig:
    """What is timed.

    Attributes:
        backbone: names of timm.
        batch: images per step.
        size: pixels per side.
        pairs: timed pairs, after one warm-up pair.
        steps: steps in a row of each half of a pair; the device is waited for around them only.
        precision: precision of CMID's step and of the floor.
        channels_last: memory formats of both; of two, only the first is measured where the blocks
            of a backbone hold no convolution.
        compile: ways in which CMID's step is compiled.
        optimizer: optimizer of CMID's step.
        workers: processes that read images; given, the wait of training for them is measured.
        images: folder that they read (default: generated scenes as JPEGs of 512 pixels).
        threads: threads of torch (default: as it chooses).
        device: cpu, cuda, ...
        cpu_time: time of the process instead of the clock's, which other work on the machine
            disturbs more; with one thread.
        profile: print the operations of a step of CMID and of a floor that take most time.
        out: file that is written anew after each row: a Markdown table if it ends in .md, else
            JSON.
    """

    backbone: tuple[str, ...] = ("resnet50",)
    batch: Annotated[int, at_least(1)] = 16
    size: Annotated[int, at_least(1)] = 224
    pairs: Annotated[int, at_least(1)] = 5
    steps: Annotated[int, at_least(1)] = 1
    precision: Precision = "fp32"
    channels_last: tuple[Switch, ...] = ("false",)
    compile: tuple[Compilation, ...] = ("none",)
    optimizer: str = "adan"
    workers: Annotated[int, at_least(0)] | None = None
    images: str | None = None
    threads: Annotated[int, at_least(1)] | None = None
    device: str = DEVICE
    cpu_time: bool = False
    profile: bool = False
    out: str | None = None

    def __post_init__(self) -> None:
        if self.images is not None and self.workers is None:
            raise ValueError("--images is read by --workers: give their number, too")


@dataclass(frozen=True)
class Case:
    """What tells a row from the others."""

    backbone: str
    channels_last: Switch = "false"
    compile: Compilation = "none"


def cases(config: StepConfig) -> Iterator[Case]:
    """The rows, for each backbone the eager ones first: the others are compared with them."""
    for name in config.backbone:
        formats = tuple(dict.fromkeys(config.channels_last))
        if len(formats) > 1 and not has_convolutions(name):
            formats = formats[:1]
            print(f"{name}: no convolution in its blocks, channels_last {formats[0]} alone")
        for compiled in sorted(set(config.compile), key=["none", "blocks", "whole"].index):
            for channels_last in formats:
                yield Case(name, channels_last, compiled)


def has_convolutions(name: str) -> bool:
    """Whether blocks of a backbone, and not only its stem, have a memory format to choose."""
    blocks = repeated_blocks(skeleton(name))
    return any(isinstance(part, nn.Conv2d) for block in blocks for part in block.modules())


def example_views(batch: int, *, size: int, device: str) -> Views:
    """Random views of the published shape: 32-pixel blocks, 60 % of them masked."""
    images = torch.randn(2 * batch, 3, size, size, device=device)
    masks = torch.rand(2 * batch, size // 32, size // 32, device=device) < 0.6
    matrix = torch.eye(3, device=device).repeat(2 * batch, 1, 1)
    matrix[:, :2, 2] = torch.rand(2 * batch, 2, device=device) * size
    return Views(images, images * 0.5, masks, matrix)


class Step:
    """CMID with its optimizer and random views: a step, in parts that a clock tells apart."""

    def __init__(self, case: Case, config: StepConfig) -> None:
        torch.manual_seed(0)
        self.config = config
        self.model = CMID(
            case.backbone,
            img_size=config.size,
            channels_last=case.channels_last == "true",
            compile=case.compile,
        ).to(config.device)
        self.optimizer = build_optimizer(self.model, OptimizerConfig(name=config.optimizer), 1e-4)
        self.views = example_views(config.batch, size=config.size, device=config.device)
        self.clock = Clock(config.device, cpu_time=config.cpu_time)

    def loss(self, views: Views) -> Tensor:
        with autocast(self.config.device, self.config.precision):
            return self.model.total(self.model.losses(views, 0.04)[0])

    def take(self, views: Views | None = None) -> None:
        """One step, on other views where some are given."""
        views = self.views if views is None else views
        loss = self.clock.time("forward", lambda: self.loss(views))
        self.clock.time("backward", loss.backward)
        self.clock.time("optimizer", lambda: (self.optimizer.step(), self.optimizer.zero_grad()))
        self.clock.time("ema", lambda: self.model.teacher.update(self.model.student, 0.996))


class Floor:
    """The bare backbone on the images of a step, eager until it is compiled."""

    def __init__(self, case: Case, config: StepConfig, step: Step) -> None:
        self.config = config
        form = torch.channels_last if case.channels_last == "true" else torch.contiguous_format
        known = step.model.student.encoder.model_args
        options: dict[str, Any] = {"img_size": config.size} if "img_size" in known else {}
        bare: Any = timm.create_model(case.backbone, num_classes=0, **options)
        self.bare = bare.to(config.device, memory_format=form).train()
        self.halves = [x.contiguous(memory_format=form) for x in step.views.images.chunk(2)]

    def take(self) -> None:
        """Two forwards and backwards, and two forwards without gradient."""
        precision = self.config.device, self.config.precision
        for images in self.halves:
            with autocast(*precision):
                features = self.bare.forward_features(images)
            features.float().mean().backward()
        self.bare.zero_grad()
        for images in self.halves:
            with torch.no_grad(), autocast(*precision):
                self.bare.forward_features(images)


def measure(case: Case, config: StepConfig, source: ImageSource | None = None) -> dict[str, Any]:
    """Times of a row, its memory and its share of the peak."""
    highest = peak(config.device)
    needed = operations(case.backbone, config)
    step = Step(case, config)
    memory = {}
    if on_gpu(config.device):
        step.take()  # compiles, and makes the optimizer's state
        memory["GiB"] = peak_gib(step.take, config.device)
    floor = Floor(case, config, step)
    row = time_pairs(step, floor, config)
    waits = {} if source is None else time_data(step, source, config)
    del step
    compiled: dict[str, Any] = {"compiled floor s": None, "step / compiled floor": None}
    if case.compile != "none":
        release(config.device)  # the step's graphs, too: those of the floor are for half its batch
        compile_backbone(floor.bare, whole=case.compile == "whole")
        seconds = time_alone(floor, config)
        compiled = dict(zip(compiled, (seconds, row["step s"] / seconds), strict=True))
    speed = needed / row["step s"]
    reached = {"TFLOP/s": speed / 1e12, "FLOP utilisation": speed / highest}
    return row | compiled | reached | memory | waits


def time_pairs(step: Step, floor: Floor, config: StepConfig) -> dict[str, Any]:
    """Step and floor in turn."""
    clock = step.clock
    for _ in range(config.pairs + 1):
        clock.time("floor", repeated(floor.take, config.steps))
        clock.time("step", repeated(step.take, config.steps))
    if config.profile:
        print_operations("floor", floor.take)
        print_operations("step", step.take)
    whole = clock.median("step") / config.steps
    return {
        "step s": whole,
        "floor s": clock.median("floor") / config.steps,
        **ratio("step / floor", clock.parts["step"], clock.parts["floor"]),
        "EMA + optimizer share": (clock.median("optimizer") + clock.median("ema")) / whole,
        "images/s": config.batch / whole,
    }


def time_alone(floor: Floor, config: StepConfig) -> float:
    """Seconds of a floor."""
    clock = Clock(config.device, cpu_time=config.cpu_time)
    for _ in range(config.pairs + 1):
        clock.time("floor", repeated(floor.take, config.steps))
    return clock.median("floor") / config.steps


def time_data(step: Step, source: ImageSource, config: StepConfig) -> dict[str, float]:
    """What reading adds to the step."""
    return data_wait(
        step.take,
        step.model.views,
        source,
        size=config.size,
        batch=config.batch,
        workers=config.workers or 0,
        steps=config.pairs * config.steps,
        clock=step.clock,
    )


def repeated(call: Callable[[], None], times: int) -> Callable[[], None]:
    """A call, several times in a row."""

    def calls() -> None:
        for _ in range(times):
            call()

    return calls


def print_operations(name: str, part: Callable[[], None]) -> None:
    """Print the operations of a part that take most time of the processor."""
    with torch.profiler.profile() as profiler:
        part()
    print(f"\n{name}")
    print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=12))


peak = cache(matrix_peak)


@cache
def operations(backbone: str, config: StepConfig) -> float:
    """Floating-point operations of a step, forward and backward.

    Counted in an eager one, as compiled code would hide them, and in a small one: they are linear
    in the batch.
    """
    counted = replace(config, batch=min(config.batch, 8))
    step = Step(Case(backbone), counted)
    with FlopCounterMode(display=False) as counter:
        step.loss(step.views).backward()
    return counter.get_total_flops() * config.batch / counted.batch


def measured(case: Case, config: StepConfig, source: ImageSource | None) -> dict[str, Any]:
    """A row, which may say that memory ran out."""
    release(config.device)
    try:
        return {**asdict(case), "note": "", **measure(case, config, source)}
    except torch.OutOfMemoryError:
        return {**asdict(case), "note": OUT_OF_MEMORY}


def add_speed_up(rows: list[dict[str, Any]]) -> None:
    """Compare the last row with the eager one of its backbone, the first."""
    row = rows[-1]
    first = next(each for each in rows if each["backbone"] == row["backbone"])
    if first["compile"] == "none" and "step s" in first and "step s" in row:
        row["speed / eager"] = first["step s"] / row["step s"]


@command(StepConfig, memory="--batch or --size")
def main(config: StepConfig) -> None:
    """Measure every row, write as they come, and show the table."""
    if config.threads:
        torch.set_num_threads(config.threads)
    if config.device == "cpu":
        keep_freed_memory()  # as training does; the floor profits from it too
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        source = None
        if config.workers is not None:
            source = stack.enter_context(folder_of_images(config.images))
        for case in cases(config):
            rows.append(measured(case, config, source))
            add_speed_up(rows)
            keep(rows, config)
            print(
                " ".join(asdict(case).values()), rows[-1]["note"] or rows[-1]["step s"], flush=True
            )
    show(rows, config)
    if any(row["note"] for row in rows):
        print("where memory ran out: lower --batch or --size")


if __name__ == "__main__":
    main()
