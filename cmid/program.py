"""How the user called the program; for texts that name a command."""

from __future__ import annotations

import re
import sys
from pathlib import Path


def program(verb: str) -> str:
    """How a user calls a command: as a verb of ``cmid``, where that is running, or by its file."""
    if verb.startswith("-m "):
        return f"python {verb}"
    called = Path(sys.argv[0])
    if not verb or called.stem == "cmid" or called.parts[-2:] == ("cmid", "__main__.py"):
        return f"cmid {verb}".rstrip()
    name, *more = verb.split()
    return " ".join([f"python tools/{name}.py", *more])


def as_called(text: str) -> str:
    """A text that names commands by their files, in the form in which this one was called."""
    return re.sub(r"python tools/(\w+)\.py", lambda found: program(found[1]), text)
