"""Which distributions a requirement brings, and processes that have no others."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
SHIELD = Path(__file__).parent / "shield"


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit status, both output streams, seconds of computing."""

    status: int
    printed: str
    seconds: float


def normalised(name: str) -> str:
    """A distribution's name as indexes write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> tuple[list[Requirement], dict[str, list[Requirement]]]:
    """What pyproject.toml requires: of everybody, and of each extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras: Mapping[str, Sequence[str]] = project["optional-dependencies"]
    return [Requirement(line) for line in project["dependencies"]], {
        extra: [Requirement(line) for line in lines] for extra, lines in extras.items()
    }


def closure(requirements: Sequence[Requirement]) -> tuple[set[str], set[str]]:
    """All distributions that requirements bring here, and those of them that are not installed.

    Markers and extras are honoured, as installers do.
    """
    found: set[str] = set()
    missing: set[str] = set()
    done: set[tuple[str, str]] = set()
    waiting = [requirement for requirement in requirements if _applies(requirement, "")]
    while waiting:
        requirement = waiting.pop()
        name = normalised(requirement.name)
        found.add(name)
        if name == "cmid":  # as it is written, not as it was when it was installed
            extras = declared()[1]
            waiting += [each for extra in requirement.extras for each in extras[extra]]
            continue
        try:
            lines = distribution(name).requires or []
        except PackageNotFoundError:
            missing.add(name)
            continue
        for extra in {"", *requirement.extras}:
            if (name, extra) not in done:
                done.add((name, extra))
                waiting += [r for r in map(Requirement, lines) if _applies(r, extra)]
    return found, missing


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


@cache
def _modules() -> dict[str, frozenset[str]]:
    """Dotted names of the modules of each installed distribution."""
    found: dict[str, set[str]] = {}
    for each in distributions():
        found.setdefault(normalised(each.metadata["Name"]), set()).update(_modules_of(each))
    return {name: frozenset(modules) for name, modules in found.items()}


def _modules_of(each: Distribution) -> Iterator[str]:
    for file in each.files or ():
        path = PurePosixPath(file)
        if path.suffix in (".py", ".so") and "__pycache__" not in path.parts:
            parts = (*path.parent.parts, path.name.partition(".")[0])
            if all(part.isidentifier() for part in parts):
                yield ".".join(parts).removesuffix(".__init__")


def hidden(allowed: set[str]) -> dict[str, list[str]]:
    """Modules and distributions to hide so that only the allowed distributions are left.

    A namespace that allowed ones share with others, such as ``google``, stays, without the others'
    parts.
    """
    modules = _modules()
    kept = {"cmid", *allowed}
    keep = {part for name in kept for module in modules.get(name, ()) for part in _above(module)}
    hide = {
        next((part for part in _above(module) if part not in keep), None)
        for name in modules.keys() - kept
        for module in modules[name]
    }
    return {
        "modules": sorted(module for module in hide if module),
        "distributions": sorted(modules.keys() - kept),
    }


def _above(module: str) -> list[str]:
    """``a``, ``a.b`` and ``a.b.c`` of ``a.b.c``."""
    parts = module.split(".")
    return [".".join(parts[: n + 1]) for n in range(len(parts))]


def run_with(
    allowed: set[str], commands: Sequence[Sequence[str | Path]], *, folder: Path
) -> list[Outcome]:
    """Run commands of Python (without ``python``) in one process that has only these distributions.

    Args:
        allowed: normalised names.
        commands: words of each; scripts relative to the repository.
        folder: an empty one, where they run.
    """
    (folder / "hidden.json").write_text(json.dumps(hidden(allowed)))
    words = [
        [str(ROOT / word) if n == 0 and not str(word).startswith("-") else str(word)
         for n, word in enumerate(command)]
        for command in commands
    ]  # fmt: skip
    (folder / "commands.json").write_text(json.dumps(words))
    environment = {
        **os.environ,
        "CMID_HIDDEN": str(folder / "hidden.json"),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(SHIELD), str(ROOT)]),
    }
    process = subprocess.run(
        [sys.executable, str(SHIELD / "run_commands.py"), "commands.json", "outcomes.json"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return [Outcome(**each) for each in json.loads((folder / "outcomes.json").read_text())]
