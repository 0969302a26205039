"""The whole CMID step against its floor.

The floor is the bare timm backbone at the same batch: two forwards and backwards, and two forwards
without gradient. Both are timed in turn, in pairs, and the median of the pairs' ratios counts.
On a GPU also images per second, memory, and the share of the matrix peak that the step's
floating-point operations reach (both measured in the same run).
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import timm
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.table import ratio, show
from cmid.command_line import command
from cmid.memory import keep_freed_memory
from cmid.methods import CMID
from cmid.optimization import OptimizerConfig, build_optimizer
from cmid.options import at_least
from cmid.views import Views

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
Precision = Literal["fp32", "bf16", "fp16"]
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class StepConfig:
    """What is timed.

    Attributes:
        backbone: names of timm.
        batch: images per step.
        size: pixels per side.
        pairs: timed pairs, after one warm-up pair.
        precision: precision of CMID's step and of the floor.
        channels_last: memory format of both.
        compile: how CMID's step is compiled.
        optimizer: optimizer of CMID's step.
        threads: threads of torch (default: as it chooses).
        device: cpu, cuda, ...
        cpu_time: time of the process instead of the clock's, which other work on the machine
            disturbs more; with one thread.
        profile: print the operations of a step of CMID and of a floor that take most time.
        out: JSON file.
    """

    backbone: tuple[str, ...] = ("resnet50",)
    batch: Annotated[int, at_least(1)] = 16
    size: Annotated[int, at_least(1)] = 224
    pairs: Annotated[int, at_least(1)] = 5
    precision: Precision = "fp32"
    channels_last: bool = False
    compile: Literal["none", "blocks", "whole"] = "none"
    optimizer: str = "adan"
    threads: Annotated[int, at_least(1)] | None = None
    device: str = DEVICE
    cpu_time: bool = False
    profile: bool = False
    out: str | None = None


class Clock:
    """Seconds spent in named parts; waits for the device at each mark."""

    def __init__(self, device: str, *, cpu_time: bool = False) -> None:
        self.device = device
        self.seconds = time.process_time if cpu_time else time.perf_counter
        self.parts: dict[str, list[float]] = defaultdict(list)

    def now(self) -> float:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()
        return self.seconds()

    def time(self, name: str, call: Callable[[], Any]) -> Any:
        start = self.now()
        result = call()
        self.parts[name].append(self.now() - start)
        return result

    def median(self, name: str) -> float:
        # The first call of each part warms up.
        return statistics.median(self.parts[name][1:])


def example_views(batch: int, *, size: int, device: str) -> Views:
    """Random views of the published shape: 32-pixel blocks, 60 % of them masked."""
    images = torch.randn(2 * batch, 3, size, size, device=device)
    masks = torch.rand(2 * batch, size // 32, size // 32, device=device) < 0.6
    matrix = torch.eye(3, device=device).repeat(2 * batch, 1, 1)
    matrix[:, :2, 2] = torch.rand(2 * batch, 2, device=device) * size
    return Views(images, images * 0.5, masks, matrix)


def autocast(device: str, precision: Precision) -> torch.autocast:
    """The precision of a step on a device."""
    return torch.autocast(device.split(":")[0], PRECISIONS[precision], enabled=precision != "fp32")


def measure(name: str, config: StepConfig) -> dict[str, Any]:
    """One row of the table."""
    torch.manual_seed(0)
    if config.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()  # each backbone's own
    form = torch.channels_last if config.channels_last else torch.contiguous_format
    model = CMID(
        name, img_size=config.size, channels_last=config.channels_last, compile=config.compile
    ).to(config.device)
    optimizer = build_optimizer(model, OptimizerConfig(name=config.optimizer), 1e-4)
    options: dict[str, Any] = {}
    if model.student.encoder.model_args.get("img_size"):
        options["img_size"] = config.size
    bare: Any = timm.create_model(name, num_classes=0, **options)
    bare = bare.to(config.device, memory_format=form).train()
    views = example_views(config.batch, size=config.size, device=config.device)
    halves = [x.contiguous(memory_format=form) for x in views.images.chunk(2)]
    clock = Clock(config.device, cpu_time=config.cpu_time)

    def floor() -> None:
        for images in halves:
            with autocast(config.device, config.precision):
                features = bare.forward_features(images)
            features.float().mean().backward()
        bare.zero_grad()
        for images in halves:
            with torch.no_grad(), autocast(config.device, config.precision):
                bare.forward_features(images)

    def forward() -> Tensor:
        with autocast(config.device, config.precision):
            return model.total(model.losses(views, 0.04)[0])

    def step() -> None:
        loss = clock.time("forward", forward)
        clock.time("backward", loss.backward)
        clock.time("optimizer", lambda: (optimizer.step(), optimizer.zero_grad()))
        clock.time("ema", lambda: model.teacher.update(model.student, 0.996))

    for _ in range(config.pairs + 1):
        clock.time("floor", floor)
        clock.time("step", step)
    if config.profile:
        for part in (floor, step):
            print_operations(part)
    whole = clock.median("step")
    row: dict[str, Any] = {
        "backbone": name,
        "step s": whole,
        "floor s": clock.median("floor"),
        **ratio("step / floor", clock.parts["step"], clock.parts["floor"]),
        "EMA + optimizer share": (clock.median("optimizer") + clock.median("ema")) / whole,
        "images/s": config.batch / whole,
    }
    if config.device.startswith("cuda"):
        row |= utilisation(forward, whole)
    return row


def print_operations(part: Callable[[], None]) -> None:
    """Print the operations of a part that take most time of the processor."""
    with torch.profiler.profile() as profiler:
        part()
    print(f"\n{part.__name__}")
    print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=12))


def utilisation(forward: Callable[[], Tensor], seconds: float) -> dict[str, float]:
    """Achieved TFLOP/s of a step, as a share of a large bf16 product's, and peak memory."""
    peak_memory = torch.cuda.max_memory_allocated() / 2**30
    with FlopCounterMode(display=False) as counter:
        forward().backward()
    a, b = torch.randn(2, 8192, 8192, device="cuda", dtype=torch.bfloat16)
    for _ in range(3):
        a @ b
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(10):
        a @ b
    torch.cuda.synchronize()
    peak = 10 * 2 * 8192**3 / (time.perf_counter() - start)
    achieved = counter.get_total_flops() / seconds
    return {"TFLOP/s": achieved / 1e12, "FLOP utilisation": achieved / peak, "GiB": peak_memory}


@command(StepConfig, memory="--batch or --size")
def main(config: StepConfig) -> None:
    """Measure every backbone and show the table."""
    if config.threads:
        torch.set_num_threads(config.threads)
    if config.device == "cpu":
        keep_freed_memory()  # as training does; the floor profits from it too
    rows = [measure(name, config) for name in config.backbone]
    show(rows, config)


if __name__ == "__main__":
    main()
