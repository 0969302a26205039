"""The start of a command whose options are the keys of a configuration file.

Imports nothing heavy: help is there before torch is, which takes seconds.
"""

from __future__ import annotations

import pkgutil
import re
import sys
from collections.abc import Sequence

from cmid.boundary import error_boundary
from cmid.configurations import find_configuration
from cmid.console import quieten
from cmid.program import as_called

MEMORY = "--data.batch_size, or recompute activations with --model.grad_checkpointing true"
# What every help tells of the run itself.
RUN_OPTIONS = """\
  --config FILE       a configuration, such as {examples}; may be repeated,
                      the later one wins
  --print_config      print the whole configuration with all defaults, and stop
  --run_dir DIR       where everything goes; a DIR with checkpoints is left alone: DIR-2 is used
  --ckpt_path last    go on with the last checkpoint of --run_dir; FILE goes on in the run folder
                      that FILE lies in, or in --run_dir where you give that, too
  --wandb PROJECT     log to Weights & Biases too (CSV and TensorBoard are always there)
  --help_all          every field with its type and meaning (takes some seconds)
  --traceback         show where an error comes from, instead of its one line
"""


def launch(
    args: Sequence[str] | None = None,
    *,
    command: str,
    default: str,
    usage: str | None,
    skip: str = "",
    memory: str = MEMORY,
) -> None:
    """Answer ``--help``, or import a command and run it; end with one line where it refuses.

    Args:
        args: the command line without the program's name; None: that of the process.
            ``--help_all`` prints every field, ``--traceback`` shows where an error comes from.
        command: ``module:function`` that takes the list of arguments.
        default: configuration of the project that is used where ``args`` name none.
        usage: the help; its second paragraph, the usage, is printed first. ``@RUN FILES@`` stands
            for `RUN_OPTIONS`, ``@DEFAULT@`` for the default.
        skip: option of the command that counts and skips faulty annotations.
        memory: options of the command that need less memory.
    """
    args = sys.argv[1:] if args is None else args
    if "-h" in args or "--help" in args:
        print(_filled(usage or "", default).rstrip())
        return
    traceback = "--traceback" in args
    args = ["--help" if arg == "--help_all" else arg for arg in args if arg != "--traceback"]
    if not any(arg == "--config" or arg.startswith(("--config=", "-c")) for arg in args):
        args = ["--config", default, *args]
    with error_boundary(traceback=traceback, memory=memory, skip=skip):
        quieten()
        pkgutil.resolve_name(command)(_with_found_files(args))


def _filled(usage: str, default: str) -> str:
    first, *others = usage.split("\n\n")
    usage = "\n\n".join([*others[:1], first, *others[1:]])
    usage = re.sub(r"@RUN (.*)@\n", lambda found: RUN_OPTIONS.format(examples=found[1]), usage)
    usage = as_called(usage)
    if "@DEFAULT@" not in usage:
        return usage
    return usage.replace("@DEFAULT@", find_configuration(default).read_text(encoding="utf-8"))


def _with_found_files(args: Sequence[str]) -> list[str]:
    """The arguments, with configurations of the project where they are."""
    found = []
    for before, arg in zip(["", *args], args, strict=False):
        if before in ("--config", "-c"):
            arg = str(find_configuration(arg))
        elif arg.startswith("--config="):
            arg = f"--config={find_configuration(arg.removeprefix('--config='))}"
        found.append(arg)
    return found
