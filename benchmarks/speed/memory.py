"""Peak memory of a full CMID step: of the process on a CPU, of the allocator on a GPU.

Every case runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import torch

from benchmarks.speed.table import show
from benchmarks.speed.training_step import PRECISIONS, example_views
from cmid.boundary import add_traceback_option, error_boundary
from cmid.callbacks.throughput import peak_memory_gib
from cmid.memory import keep_freed_memory
from cmid.methods import CMID
from cmid.optimization import OptimizerParameters, build_optimizer


class FailedRunError(RuntimeError):
    """A case that ended with an error in its own process."""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--backbone", nargs="+", default=["resnet50", "vit_base_patch16_224"])
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--size", type=int, default=224)
    p.add_argument("--precision", choices=PRECISIONS, nargs="+", default=["fp32", "bf16"])
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--out", help="JSON file")
    p.add_argument("--case", help=argparse.SUPPRESS)
    add_traceback_option(p)
    return p


def run_case(case: dict[str, object]) -> float:
    """Two steps (the optimizer's state appears in the first), then the peak in GiB."""
    if case["device"] == "cpu":
        keep_freed_memory()
    device, precision = str(case["device"]), PRECISIONS[str(case["precision"])]
    model = CMID(
        str(case["backbone"]),
        img_size=int(str(case["size"])),
        channels_last=True,
        grad_checkpointing=bool(case["checkpointing"]),
    ).to(device)
    optimizer = build_optimizer(model, OptimizerParameters(), 1e-4)
    views = example_views(int(str(case["batch"])), size=int(str(case["size"])), device=device)
    for _ in range(2):
        with torch.autocast(device.split(":")[0], precision, enabled=precision != torch.float32):
            loss = model.total(model.losses(views, 0.04)[0])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        model.teacher.update(model.student, 0.996)
    return peak_memory_gib()


def main() -> None:
    args = parser().parse_args()
    with error_boundary(traceback=args.traceback, memory="--batch or --size"):
        run(args)


def run(args: argparse.Namespace) -> None:
    """Measure every case and show the table; a case itself where one is given.

    Raises:
        FailedRunError: a case failed; the text is the last line it wrote.
    """
    if args.case:
        print(run_case(json.loads(args.case)))
        return
    rows = []
    for backbone in args.backbone:
        for precision in args.precision:
            for checkpointing in (False, True):
                case = {
                    "backbone": backbone,
                    "precision": precision,
                    "checkpointing": checkpointing,
                    "batch": args.batch,
                    "size": args.size,
                    "device": args.device,
                }
                command = [sys.executable, "-m", __spec__.name, "--case", json.dumps(case)]
                result = subprocess.run(command, capture_output=True, text=True)
                if result.returncode:
                    last = result.stderr.strip().splitlines()[-1:]
                    raise FailedRunError(f"{case}: {''.join(last).removeprefix('error: ')}")
                peak = float(result.stdout.split()[-1])
                rows.append({**case, "peak GiB": peak})
                print(f"{backbone} {precision} checkpointing={checkpointing}: {peak:.2f} GiB")
    show(rows, out=args.out)


if __name__ == "__main__":
    main()
