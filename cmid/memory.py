"""Host memory of a training process."""

from __future__ import annotations

import ctypes

# Parameters of mallopt, from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Let glibc reuse freed memory instead of handing it back to the kernel.

    glibc returns blocks above 32 MiB at once, so that every large activation of every step is made
    of new, zeroed pages. Training on a CPU spends up to a third of its time on that (the report
    ``benchmarks/reports/2026-11-23-pretraining.md``). The price: the process keeps its peak memory.

    Returns:
        False where the C library is not glibc; nothing is changed then.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return mallopt(_M_MMAP_MAX, 0) == 1 and mallopt(_M_TRIM_THRESHOLD, -1) == 1
