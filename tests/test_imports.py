"""No import is undeclared: lint refuses one, and what waits in functions says what to install."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.declared import ROOT, closure, declared, normalised

CORE, _ = declared()


@pytest.mark.parametrize("name", ["scipy", "jinja2", "pillow", "umap-learn", "onedl-mmcv"])
def test_lint_refuses_an_import_that_is_not_declared(name: str, tmp_path: Path) -> None:
    text = (ROOT / "pyproject.toml").read_text()
    shortened, count = re.subn(rf'"{name}[>=]=[^"]*",?', "", text)
    assert count == 1
    (tmp_path / "pyproject.toml").write_text(shortened)
    (line,) = re.findall(r"deptry (cmid .*)", (ROOT / "Makefile").read_text())
    command = [sys.executable, "-m", "deptry", *line.split()]
    process = subprocess.run(
        [*command, "--config", str(tmp_path / "pyproject.toml")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert process.returncode == 1
    assert "DEP00" in process.stderr


def test_imports_of_extras_inside_functions_say_what_to_install() -> None:
    """Every module imports with the core alone (above); this sees what waits in functions."""
    known = core_modules()
    for folder in ("cmid", "tools"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            found = list(imports(ast.parse(path.read_text())))
            guarded = {name for node, caught in found if caught for name in names(node)}
            unguarded = {name for node, caught in found if not caught for name in names(node)}
            assert unguarded - guarded <= known, path


def core_modules() -> set[str]:
    """Top-level modules of the standard library, the repository and the core's distributions."""
    owners = packages_distributions()
    core, missing = closure(CORE)
    assert not missing, f"not installed: {missing}"
    ours = {module for module, names in owners.items() if core & {*map(normalised, names)}}
    return {"cmid", "benchmarks", *sys.stdlib_module_names, *ours}


def imports(tree: ast.AST, guarded: bool = False) -> Iterator[tuple[ast.stmt, bool]]:
    """All imports below a node, and whether an error of them is caught."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and not node.level):
            yield node, guarded
        elif isinstance(node, ast.Try):
            caught = " ".join(ast.unparse(h.type) for h in node.handlers if h.type)
            guards = re.search(r"\b(ImportError|ModuleNotFoundError)\b", caught) is not None
            yield from imports(node, guarded or guards)
        else:
            yield from imports(node, guarded)


def names(node: ast.stmt) -> list[str]:
    """The top-level modules that a statement imports from."""
    if isinstance(node, ast.ImportFrom):
        return [(node.module or "").partition(".")[0]]
    aliases = node.names if isinstance(node, ast.Import) else []
    return [alias.name.partition(".")[0] for alias in aliases]
