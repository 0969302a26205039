"""Commands of ``tools/`` in the process of the tests, which imports torch once for all of them."""

from __future__ import annotations

import io
import os
import runpy
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
# The least that tools/pretrain.py can train; tests add what they are about. Wide heads would make
# checkpoints of 170 MB, and drawing one image costs a fifth of drawing eight.
TINY: dict[str, Any] = {
    "data.source.class_path": "cmid.data.ImageFolder",
    "data.views.class_path": "cmid.views.TwoViews",
    "data.views.init_args.size": 32,
    "data.views.init_args.block_size": 16,
    "data.batch_size": 4,
    "data.num_workers": 0,
    "model.backbone": "test_resnet",
    "model.queue_size": 16,
    "model.num_matches": 1,
    "model.num_prototypes": 16,
    "model.head_width": 16,
    "trainer.max_epochs": 1,
    "trainer.accelerator": "cpu",
    "trainer.precision": "32-true",
    "reconstructions.num_images": 1,
}


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit status, and what it wrote to both streams."""

    status: int
    out: str
    err: str


def options(settings: Mapping[str, Any]) -> list[str]:
    """A command line of options and their values."""
    return [f"--{name}={value}" for name, value in settings.items()]


def run(script: str, *arguments: str | Path) -> Outcome:
    """Run a script from the repository's folder as ``python script arguments`` would."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err), _as_started(script, *map(str, arguments)):
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                print(end.code, file=err)
        except Exception:
            status = 1
            traceback.print_exc(file=err)
    return Outcome(status, out.getvalue(), err.getvalue())


@contextmanager
def _as_started(*words: str) -> Iterator[None]:
    """Arguments, folder, number of threads and choice of algorithms of a process of its own."""
    argv, folder, threads = sys.argv, Path.cwd(), torch.get_num_threads()
    fixed = torch.are_deterministic_algorithms_enabled()
    sys.argv = list(words)
    os.chdir(ROOT)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        sys.argv = argv
        os.chdir(folder)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(fixed)
