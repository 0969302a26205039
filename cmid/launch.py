"""The start of a command whose options are the keys of a configuration file.

Imports nothing heavy: help is there before torch is, which takes seconds.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from pathlib import Path

from cmid.boundary import error_boundary
from cmid.console import quieten

MEMORY = "--data.batch_size, or recompute activations with --model.grad_checkpointing true"


def launch(args: Sequence[str], *, command: str, default: Path, usage: str, skip: str = "") -> None:
    """Answer ``--help``, or import a command and run it; end with one line where it refuses.

    Args:
        args: the command line without the program's name. ``--help_all`` prints every field,
            ``--traceback`` shows where an error comes from.
        command: ``module:function`` that takes the list of arguments.
        default: configuration file that is used where ``args`` name none.
        usage: the help.
        skip: option of the command that counts and skips faulty annotations.
    """
    if "-h" in args or "--help" in args:
        print(usage)
        return
    traceback = "--traceback" in args
    args = ["--help" if arg == "--help_all" else arg for arg in args if arg != "--traceback"]
    if not any(arg == "--config" or arg.startswith(("--config=", "-c")) for arg in args):
        args = ["--config", str(default), *args]
    with error_boundary(traceback=traceback, memory=MEMORY, skip=skip):
        quieten()
        pkgutil.resolve_name(command)(args)
