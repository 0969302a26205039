"""Which method a command line trains: ``--model.class_path``, and options that need no more.

The options of the chosen method stand directly under ``model``, as they do for CMID: in files and
on the command line, with and without ``init_args``.
"""

from __future__ import annotations

import difflib
import importlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, get_loader

from cmid.methods.base import PretrainMethod

DEFAULT = "cmid.methods.CMID"
# The command links them to the data and to the seed.
LINKED = ("img_size", "in_chans", "statistics", "seed")
_CLASS = "--model.class_path"
_INIT = "--model.init_args."


@dataclass
class Choice:
    """A method, and the command line without ``class_path`` and ``init_args``.

    Attributes:
        class_path: import path of the method.
        method: the class itself.
        arguments: command line whose model options are those of the class alone.
        ignored: keys of configuration files of another method that this one does not take, by file.
    """

    class_path: str
    method: type[PretrainMethod]
    arguments: list[str] = field(default_factory=list)
    ignored: dict[str, list[str]] = field(default_factory=dict)


def choose_method(args: Sequence[str]) -> Choice:
    """Find the method of a command line; the last one that is named counts.

    A configuration file that names no class is one of the method before it, at first CMID. Of a
    file of another method, those options count that both methods take: so the data, views and
    schedule of any configuration serve every method.

    Raises:
        ValueError: no such class, no `PretrainMethod`, or one that does not take what the command
            sets.
        ModuleNotFoundError: a package that the method needs is missing.
    """
    owner = DEFAULT
    parts: list[tuple[str, str | None, dict[str, Any] | None, str]] = []
    for option, value in _options(args):
        config = _model_of(value) if option in ("--config", "-c") else None
        if option == _CLASS or (option == "--model" and not Path(value or "").is_file()):
            owner = value or ""
        elif config is not None:
            owner = config["model"].pop("class_path", owner)
            parts.append((option, value, config, owner))
        elif option.startswith(_INIT):
            parts.append((f"--model.{option.removeprefix(_INIT)}", value, None, owner))
        else:
            parts.append((option, value, None, owner))
    choice = Choice(owner, import_method(owner))
    for option, value, config, of in parts:
        if config is not None:
            value = _rewritten(choice, config, of=of, file=value or "")
        choice.arguments += [option] if value is None else [f"{option}={value}"]
    return choice


def import_method(class_path: str) -> type[PretrainMethod]:
    """The class of an import path, such as ``benchmarks.baselines.SimCLR``.

    Raises:
        ValueError, ModuleNotFoundError: as `choose_method`.
    """
    where = f"model.class_path {class_path}"
    module_name, _, name = class_path.rpartition(".")
    if not module_name:
        raise ValueError(f"{where}: give the whole import path, such as {DEFAULT}")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ValueError(
            f"{where}: no module {error.name}; is its folder on PYTHONPATH?"
        ) from error
    found = getattr(module, name, None)
    if found is None:
        names = [*getattr(module, "__all__", ()), *dir(module)]
        near = difflib.get_close_matches(name, names, n=1)
        hint = f". Did you mean: {module_name}.{near[0]}?" if near else ""
        raise ValueError(f"{where}: {module_name} has no {name}{hint}")
    if not (isinstance(found, type) and issubclass(found, PretrainMethod)):
        raise ValueError(f"{where} is no subclass of cmid.methods.PretrainMethod")
    missing = [name for name in LINKED if name not in _parameters(found)]
    if missing:
        raise ValueError(
            f"{where} does not take {', '.join(missing)}: hand **common on to PretrainMethod"
        )
    return found


def _options(args: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Options with their values; a value that is absent, or a word on its own, has None."""
    position = 0
    while position < len(args):
        word, position = args[position], position + 1
        if not word.startswith("-"):
            yield word, None
            continue
        option, equals, value = word.partition("=")
        if equals:
            yield option, value
        elif position < len(args) and not args[position].startswith("--"):
            yield option, args[position]
            position += 1
        else:
            yield option, None


def _model_of(file: str | None) -> dict[str, Any] | None:
    """Content of a configuration with a model, whose options stand flat; None of any other."""
    content = _content(file)
    model = content.get("model") if isinstance(content, dict) else None
    if isinstance(model, str):
        model = {"class_path": model}
    if not isinstance(model, dict):
        return None
    flat = {name: value for name, value in model.items() if name != "init_args"}
    return {**content, "model": flat | (model.get("init_args") or {})}


def _content(file: str | None) -> Any:
    if file is None or not Path(file).is_file():
        return None
    try:
        return get_loader("yaml")(Path(file).read_text())
    except Exception:  # the parser reads it again and says what is wrong
        return None


def _rewritten(choice: Choice, config: dict[str, Any], *, of: str, file: str) -> str:
    """The configuration without options of another method that this one does not take.

    As text, or as the file itself where it says the same.
    """
    options = config["model"]
    if of != choice.class_path:
        theirs, ours = _parameters(import_method(of)), _parameters(choice.method)
        ignored = [name for name in options if name in theirs and theirs[name] != ours.get(name)]
        for name in ignored:
            del options[name]
        if ignored:
            choice.ignored[file] = ignored
    return file if config == _content(file) else json.dumps(config)


@cache
def _parameters(method: type[PretrainMethod]) -> dict[str, frozenset[tuple[str, str]]]:
    """Options of a class by their first name: the fields below each, and their types."""
    parser = ArgumentParser()
    parser.add_class_arguments(method, fail_untyped=False)
    found: dict[str, set[tuple[str, str]]] = {}
    for action in parser._actions:
        name = action.dest.partition(".")[0]
        found.setdefault(name, set()).add((action.dest, str(getattr(action, "_typehint", None))))
    return {name: frozenset(fields) for name, fields in found.items()}
