"""Peak memory of a full CMID step: of the process on a CPU, of the allocator on a GPU.

Every case runs in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any

from benchmarks.speed.device import DEVICE, Precision, autocast
from benchmarks.speed.table import show
from benchmarks.speed.training_step import example_views
from cmid.callbacks.throughput import peak_memory_gib
from cmid.command_line import command
from cmid.memory import keep_freed_memory
from cmid.methods import CMID
from cmid.optimization import OptimizerConfig, build_optimizer
from cmid.options import at_least


class FailedRunError(RuntimeError):
    """A case that ended with an error in its own process."""


@dataclass(frozen=True)
class MemoryConfig:
    """What is measured.

    Attributes:
        backbone: names of timm.
        batch: images of a step.
        size: pixels per side.
        precision: each is measured.
        device: cpu, cuda, ...
        out: JSON file.
        case: one case as JSON, in a process of its own.
    """

    backbone: tuple[str, ...] = ("resnet50", "vit_base_patch16_224")
    batch: Annotated[int, at_least(1)] = 64
    size: Annotated[int, at_least(1)] = 224
    precision: tuple[Precision, ...] = ("fp32", "bf16")
    device: str = DEVICE
    out: str | None = None
    case: str | None = None


def run_case(case: dict[str, Any]) -> float:
    """Two steps (the optimizer's state appears in the first), then the peak in GiB."""
    if case["device"] == "cpu":
        keep_freed_memory()
    device, size = case["device"], case["size"]
    model = CMID(
        case["backbone"],
        img_size=size,
        channels_last=True,
        grad_checkpointing=case["checkpointing"],
    ).to(device)
    optimizer = build_optimizer(model, OptimizerConfig(), 1e-4)
    views = example_views(case["batch"], size=size, device=device)
    for _ in range(2):
        with autocast(device, case["precision"]):
            loss = model.total(model.losses(views, 0.04)[0])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        model.teacher.update(model.student, 0.996)
    return peak_memory_gib(device)


@command(MemoryConfig, memory="--batch or --size")
def main(config: MemoryConfig) -> None:
    """Measure every case and show the table; a case itself where one is given.

    Raises:
        FailedRunError: a case failed; the text is the last line it wrote.
    """
    if config.case:
        print(run_case(json.loads(config.case)))
        return
    rows = []
    cases = product(config.backbone, config.precision, (False, True))
    for backbone, precision, checkpointing in cases:
        case = {"backbone": backbone, "precision": precision, "checkpointing": checkpointing}
        case |= {"batch": config.batch, "size": config.size, "device": config.device}
        words = [sys.executable, "-m", __spec__.name, "--case", json.dumps(case)]
        result = subprocess.run(words, capture_output=True, text=True)
        if result.returncode:
            last = result.stderr.strip().splitlines()[-1:]
            raise FailedRunError(f"{case}: {''.join(last).removeprefix('error: ')}")
        peak = float(result.stdout.split()[-1])
        rows.append({**case, "peak GiB": peak})
        print(f"{backbone} {precision} checkpointing={checkpointing}: {peak:.2f} GiB")
    show(rows, config)


if __name__ == "__main__":
    main()
