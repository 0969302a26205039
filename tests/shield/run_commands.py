"""Run several commands in one process, which saves importing torch for each of them.

    python run_commands.py COMMANDS.json OUTCOMES.json

COMMANDS holds lists of words: a script or ``-m`` and a module, or ``-c`` and code, then arguments.
OUTCOMES gets ``status`` and ``printed`` (both streams) of each.
"""

from __future__ import annotations

import io
import json
import runpy
import sys
import time
import traceback
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any


def run(command: list[str]) -> dict[str, Any]:
    """Run one command as Python would as ``__main__``; what it raises is part of its outcome."""
    printed, status, begin = io.StringIO(), 0, time.process_time()
    with redirect_stdout(printed), redirect_stderr(printed):
        try:
            start(command)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                print(end.code)
        except BaseException:
            status = 1
            traceback.print_exc(file=printed)
    seconds = time.process_time() - begin
    return {"status": status, "printed": printed.getvalue(), "seconds": round(seconds, 1)}


def start(command: list[str]) -> None:
    """Start a script, a module or code."""
    first, *rest = command
    if first == "-c":
        exec(rest[0], {"__name__": "__main__"})
    elif first == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [first, *rest]
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    commands, outcomes = map(Path, sys.argv[1:])
    outcomes.write_text(json.dumps([run(command) for command in json.loads(commands.read_text())]))
