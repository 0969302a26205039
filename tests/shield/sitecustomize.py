"""Make what is installed but not declared look as if it were not installed.

Python imports a module of this name at its start, in worker processes as well, where its folder is
on ``PYTHONPATH``. ``CMID_HIDDEN`` names a JSON file with ``modules`` (a hidden package hides all
below it) and ``distributions`` (normalised names).
"""

from __future__ import annotations

import json
import os
import re
import sys
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

with open(os.environ["CMID_HIDDEN"], encoding="utf-8") as _file:
    _hidden = json.load(_file)
_MODULES = frozenset(_hidden["modules"])
_DISTRIBUTIONS = frozenset(_hidden["distributions"])


class DeclaredFinder(PathFinder):
    """Python's finder of files, without the hidden ones.

    It finds nothing where a package is hidden, rather than raising: that is what those see who ask
    whether a package is there.
    """

    @classmethod
    def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        parts = fullname.split(".")
        if any(".".join(parts[:n]) in _MODULES for n in range(1, len(parts) + 1)):
            return None
        return super().find_spec(fullname, path, target)

    @classmethod
    def find_distributions(cls, *args: Any, **kwargs: Any) -> Any:
        for distribution in PathFinder.find_distributions(*args, **kwargs):
            name = distribution.metadata["Name"]
            if re.sub(r"[-_.]+", "-", name).lower() not in _DISTRIBUTIONS:
                yield distribution


sys.meta_path[sys.meta_path.index(PathFinder)] = DeclaredFinder
