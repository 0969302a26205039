from __future__ import annotations

import resource
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys, torch
from cmid.memory import keep_freed_memory
kept = sys.argv[1] == "keep" and keep_freed_memory()
def fill():
    torch.ones(20, 1024, 1024)  # 80 MiB, above what glibc keeps by itself
for _ in range(30):  # until the heap has room for a block wherever it falls
    fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    fill()
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode: str) -> tuple[bool, int]:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, mode], capture_output=True, text=True, check=True
    )
    kept, faults = result.stdout.split()
    return kept == "1", int(faults)


def test_freed_memory_is_used_again_without_page_faults() -> None:
    kept, faults = page_faults("keep")
    if not kept:
        pytest.skip("the C library is not glibc")
    _, without = page_faults("default")
    pages = 10 * 80 * 2**20 // resource.getpagesize()
    assert faults < pages / 10
    assert faults < without / 5
