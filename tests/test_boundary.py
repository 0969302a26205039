from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from cmid.boundary import error_boundary, expected_line
from cmid.data import UnreadableImageError

ROOT = Path(__file__).resolve().parents[1]


def line_of(call, *args) -> str | None:
    """What the boundary makes of the error that a call raises."""
    try:
        call(*args)
    except Exception as error:
        return expected_line(error, memory="--batch_size")
    raise AssertionError("nothing was raised")


def refuse(text: str = "8 bands in a.tif: give --bands") -> None:
    raise ValueError(text)


def unreadable(index: int = 0) -> None:
    raise UnreadableImageError(f"{index}.png: not a readable image; replace the file")


def fault(*_: object) -> None:
    torch.zeros(2) @ torch.zeros(3)


def out_of_memory(*_: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has ...")


def test_errors_raised_for_the_user_are_their_text() -> None:
    assert line_of(refuse) == "8 bands in a.tif: give --bands"
    assert line_of(unreadable) == "0.png: not a readable image; replace the file"


def test_what_the_system_says_is_a_line_that_names_the_file(tmp_path: Path) -> None:
    assert "missing.txt" in str(line_of((tmp_path / "missing.txt").read_text))
    assert str(tmp_path) in str(line_of(tmp_path.read_text))


def test_text_of_several_lines_becomes_one() -> None:
    assert line_of(refuse, "one\n  two\n\nthree") == "one two three"


@pytest.mark.parametrize(
    "call",
    [
        fault,
        lambda: int("x"),
        lambda: np.zeros(3).reshape(2, 2),
        lambda: torch.nn.Linear(2, 2).load_state_dict({}),
        lambda: {}["key"],
        lambda: len(3),  # type: ignore[arg-type]
        lambda: torch.nn.functional.cross_entropy(torch.zeros(2, 3), torch.zeros(3).long()),
        lambda: torch.nn.BatchNorm1d(2)(torch.zeros(1, 2)),
    ],
)
def test_faults_keep_their_traceback_whatever_their_class(call) -> None:
    assert line_of(call) is None


def test_deliberate_errors_of_unexpected_classes_keep_their_traceback() -> None:
    for kind in (RuntimeError, TypeError, KeyError, AssertionError, IndexError):

        def call(kind=kind) -> None:
            raise kind("broken")

        assert line_of(call) is None


SHARED = "is killed by signal: Bus error. ... dataloader's workers are out of shared memory."
CPU = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB."), "2.50 GiB"),
        (RuntimeError(CPU), "99 bytes"),
        (RuntimeError("CUDA error: out of memory"), "GPU"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "out of memory"),
        (MemoryError("Unable to allocate 7.28 TiB for an array"), "7.28 TiB"),
        (RuntimeError("DataLoader worker (pid 3) is killed by signal: Killed."), "memory"),
        (RuntimeError(f"DataLoader worker (pid 3) {SHARED}"), "/dev/shm"),
    ],
)
def test_memory_that_ran_out_is_a_line_with_the_option_that_needs_less(
    error: Exception, expected: str
) -> None:
    line = str(expected_line(error, memory="--batch_size"))
    assert expected in line
    assert "batch_size" in line
    assert "\n" not in line


def test_memory_that_really_ran_out_is_recognised() -> None:
    assert "--batch_size" in str(line_of(torch.empty, 2**58))
    assert "--batch_size" in str(line_of(np.empty, 2**58))


@pytest.mark.skipif(torch.cuda.is_available(), reason="the device is there")
@pytest.mark.parametrize("device", ["cuda", "nonsense", "cuda:x"])
def test_a_device_that_is_not_there_is_a_line(device: str) -> None:
    assert line_of(lambda: torch.zeros(1).to(device))


def test_a_missing_extra_is_named() -> None:
    with pytest.raises(ImportError) as missing:
        raise ModuleNotFoundError("No module named 'mmengine.config'", name="mmengine.config")
    line = expected_line(missing.value)
    assert line == "mmengine is not installed: pip install 'cmid[openmmlab]' (or make openmmlab)"


class Faulty(Dataset[torch.Tensor]):
    def __init__(self, call) -> None:
        self.call = call

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        self.call(index)
        return torch.zeros(1)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (unreadable, "0.png: not a readable image; replace the file"),
        (refuse, "0"),
        (fault, None),
        (out_of_memory, "out of memory on GPU (20.00 MiB more were wanted): lower --batch_size"),
    ],
)
def test_errors_of_a_worker_are_as_those_of_the_process_itself(call, expected) -> None:
    loader = DataLoader(Faulty(call), num_workers=1)
    assert line_of(list, loader) == expected


def test_errors_of_a_pool_are_as_those_of_the_process_itself() -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        assert line_of(pool.submit(refuse).result) == "8 bands in a.tif: give --bands"
        assert line_of(pool.submit(fault).result) is None


@pytest.mark.parametrize(
    "text",
    [
        "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer",
        "NCCL error: remote process exited or there was a network error",
        "Failed to recv, got 0 bytes. Connection was likely closed. Did the remote server crash?",
    ],
)
def test_the_end_of_another_process_of_the_run_is_one_line(text: str) -> None:
    def wait_for_it() -> None:
        raise RuntimeError(text)

    assert "another process of this run has ended" in (line_of(wait_for_it) or "")


@pytest.mark.slow
def test_errors_of_spawned_processes_are_as_those_of_the_process_itself() -> None:
    from torch.multiprocessing import spawn

    assert line_of(spawn, unreadable, (), 1) == "0.png: not a readable image; replace the file"
    assert line_of(spawn, fault, (), 1) is None


def test_an_error_that_another_one_repeats_counts_as_the_first() -> None:
    def registry() -> None:
        try:
            refuse()
        except ValueError as error:
            namespace = {"ValueError": ValueError, "error": error}
            exec(compile("raise ValueError(f'class X: {error}')", "<lib>", "exec"), namespace)

    assert line_of(registry) == "8 bands in a.tif: give --bands"


def test_the_boundary_ends_with_status_1_and_the_line() -> None:
    with pytest.raises(SystemExit) as end, error_boundary():
        refuse()
    assert end.value.code == "error: 8 bands in a.tif: give --bands"


def test_traceback_shows_all() -> None:
    with pytest.raises(ValueError, match="8 bands"), error_boundary(traceback=True):
        refuse()


def test_faults_pass_the_boundary() -> None:
    with pytest.raises(RuntimeError), error_boundary():
        fault()


def test_an_interruption_is_a_short_line_with_how_to_go_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as end, error_boundary(again="run it again"):
        raise KeyboardInterrupt
    assert end.value.code == 130
    assert capsys.readouterr().err == "\ninterrupted; run it again\n"
    with pytest.raises(SystemExit), error_boundary(again="run it again"):
        raise KeyboardInterrupt("interrupted at step 3")
    assert capsys.readouterr().err == "\ninterrupted at step 3\n"


def test_the_boundary_imports_nothing_heavy() -> None:
    code = (
        "import sys, cmid.boundary, cmid.console;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], env=os.environ).returncode == 0
