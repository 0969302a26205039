"""Two processes of a test that train together, as torchrun starts them."""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from cmid.processes import leave_group

_ports: Iterator[int] = iter(())


def run_together(
    work: Callable[..., None], *args: Any, groups: int = 1, seconds: float = 780
) -> list[int | None]:
    """Exit codes of two processes of ``work(rank, *args)``, one thread each.

    This process holds the stores in which they meet, as the agent of torchrun does: a port that is
    looked up first and bound later is somebody else's by then, now and then, and one process waits
    half an hour for the other. Processes that take longer than ``seconds`` write to stderr where
    each of their threads is, and end with 1.

    Args:
        groups: how many process groups they form, one after the other (`leave_for_next`).
    """
    stores = [
        dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False) for _ in range(groups)
    ]
    ports = [store.port for store in stores]
    context = mp.get_context("spawn")
    jobs = [
        context.Process(target=_enter, args=(rank, ports, seconds, work, args)) for rank in (0, 1)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    return [job.exitcode for job in jobs]


def leave_for_next() -> None:
    """Leave the group of a process that `run_together` has started; the next one meets anew."""
    leave_group()
    os.environ["MASTER_PORT"] = str(next(_ports, ""))


def _enter(
    rank: int, ports: list[int], seconds: float, work: Callable[..., None], args: tuple[Any, ...]
) -> None:
    global _ports
    faulthandler.dump_traceback_later(seconds, exit=True)
    torch.set_num_threads(1)
    _ports = iter(ports)
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(next(_ports)),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "LOCAL_RANK": str(rank),
        "RANK": str(rank),
        "NODE_RANK": "0",
        "GROUP_RANK": "0",
        "TORCHELASTIC_RUN_ID": "test",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    try:
        work(rank, *args)
    finally:
        # Threads of the group that outlive the interpreter abort the process now and then.
        leave_group()
