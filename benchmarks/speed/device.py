"""The device that is measured: precision, clock, peak memory, and the fastest it computes."""

from __future__ import annotations

import gc
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Literal

import torch

from cmid.callbacks.throughput import peak_memory_gib

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
Precision = Literal["fp32", "bf16", "fp16"]
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def on_gpu(device: str) -> bool:
    return device.startswith("cuda")


def autocast(device: str, precision: Precision) -> torch.autocast:
    """The precision of a step on a device."""
    return torch.autocast(device.split(":")[0], PRECISIONS[precision], enabled=precision != "fp32")


def release(device: str) -> None:
    """Forget compiled graphs, and give back what nothing holds any more."""
    torch.compiler.reset()
    gc.collect()
    if on_gpu(device):
        torch.cuda.empty_cache()


def peak_gib(call: Callable[[], Any], device: str) -> float:
    """Most memory of a GPU during a call, with what lay there before."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    call()
    torch.cuda.synchronize(device)
    return peak_memory_gib(device)


def matrix_peak(device: str) -> float:
    """Operations per second of a large product of matrices: bf16 on a GPU, fp32 elsewhere."""
    side, dtype = (8192, torch.bfloat16) if on_gpu(device) else (512, torch.float32)
    a, b = torch.randn(2, side, side, device=device, dtype=dtype)
    clock, products = Clock(device), 10

    def multiply() -> None:
        for _ in range(products):
            a @ b

    for _ in range(4):
        clock.time("products", multiply)
    return products * 2 * side**3 / clock.median("products")


class Clock:
    """Seconds spent in named parts, which may lie within one another.

    The device is waited for before and after an outermost part only. Within it events of a GPU tell
    its parts apart, so that the processor runs ahead as in training.
    """

    def __init__(self, device: str, *, cpu_time: bool = False) -> None:
        self.device = device
        self.seconds = time.process_time if cpu_time else time.perf_counter
        self.parts: dict[str, list[float]] = defaultdict(list)
        self._within = False
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    def now(self) -> float:
        if on_gpu(self.device) and not self._within:
            torch.cuda.synchronize(self.device)
        return self.seconds()

    def time(self, name: str, call: Callable[[], Any]) -> Any:
        """Call, and note the time under a name."""
        if self._within and on_gpu(self.device):
            begin = self._event()
            result = call()
            self._events.append((name, begin, self._event()))
            return result
        outermost, start = not self._within, self.now()
        self._within = True
        try:
            result = call()
        finally:
            self._within = not outermost
        self.parts[name].append(self.now() - start)
        if outermost:
            self._read_events()
        return result

    def median(self, name: str) -> float:
        # The first call of each part warms up.
        return statistics.median(self.parts[name][1:])

    def _event(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

    def _read_events(self) -> None:
        for name, begin, end in self._events:
            self.parts[name].append(begin.elapsed_time(end) / 1000)
        self._events.clear()
