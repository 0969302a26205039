"""Command lines from dataclasses: an option is a field, with its type, its default and its text.

A field without a default is a positional argument; one that is also keyword-only is an option that
has to be given. Tuples take one or more values, ``bool`` fields are switches. The text of an option
is the field's in the docstring (``Attributes:``). Options are spelled with underscores; one that is
given with dashes is answered with the name that it has. Imports nothing heavy.
"""

from __future__ import annotations

import argparse
import difflib
import functools
import inspect
import re
import shlex
import sys
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from cmid.boundary import error_boundary
from cmid.options import reader
from cmid.program import as_called, program


class OptionParser(ArgumentParser):
    """A parser whose errors are one line, and name the option that was meant."""

    def __init__(self, verb: str, description: str | None) -> None:
        super().__init__(
            prog=program(verb),
            description=as_called(description or ""),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def add_traceback(self) -> None:
        """Give the option that every command has."""
        self.add_argument("--traceback", action="store_true", help="show where an error comes from")

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        self.print_usage(sys.stderr)
        known = {name for action in self._actions for name in action.option_strings}
        self.exit(2, f"error: {' '.join(message.split())}{meant(message, known)}\n")


def command(
    *configs: type, told: bool = False, **ends: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate what a command does, and get its entrance, which parses, calls and ends in one line.

    The function takes an instance of each configuration. Help begins with the text of its module,
    whose name is the command's: the verb of a module of ``commands``, else ``-m MODULE``.

    Args:
        configs: dataclasses whose fields are the options, see `parse`.
        told: the function also takes the command as it was called, for a report.
        ends: ``memory``, ``again`` and ``skip`` of `cmid.boundary.error_boundary`.

    Returns:
        A function of the arguments without the program's name; None: those of the process.
    """

    def entrance(work: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(work)
        def main(arguments: Sequence[str] | None = None) -> None:
            module = sys.modules[work.__module__]
            name = module.__spec__.name if module.__spec__ else work.__module__  # of __main__, too
            room, _, last = name.rpartition(".")
            verb = last if room.endswith(".commands") else f"-m {name}"
            words = sys.argv[1:] if arguments is None else [*arguments]
            *given, traceback = parse(
                *configs, arguments=words, verb=verb, description=module.__doc__
            )
            if told:
                given.append(f"{program(verb)} {shlex.join(words)}")
            with error_boundary(traceback=traceback, **ends):
                work(*given)

        return main

    return entrance


def parse(
    *configs: type, arguments: Sequence[str] | None, verb: str, description: str | None
) -> tuple[Any, ...]:
    """Read a command line; one that makes no sense ends the process with its usage, status 2.

    Args:
        configs: dataclasses whose fields are the options. A ``ValueError`` that one raises about
            its fields is an error of the command line.
        arguments: without the program's name; None: those of the process.
        verb: the command's name, with that of a sub-command.
        description: what help says first.

    Returns:
        The instances, and whether ``--traceback`` was given.
    """
    parser = OptionParser(verb, description)
    for config in configs:
        add_options(parser, config)
    parser.add_traceback()
    given = vars(parser.parse_args(sys.argv[1:] if arguments is None else [*arguments]))
    try:
        made = tuple(config(**_of(config, given)) for config in configs)
    except ValueError as error:
        parser.error(str(error))
    return *made, given["traceback"]


def choose(
    verbs: Mapping[str, str], arguments: Sequence[str] | None, *, verb: str, description: str | None
) -> tuple[str, list[str]]:
    """The sub-command that comes first, and the arguments for it; else its usage, status 2.

    Args:
        verbs: names of the sub-commands, with what help says of them.
    """
    given = sys.argv[1:] if arguments is None else [*arguments]
    chosen, left = split_verb(verbs, given)
    if chosen is not None:
        return chosen, left
    listed = "\n".join(f"  {name:22}{text}" for name, text in verbs.items())
    parser = OptionParser(verb, f"{description}\n{listed}")
    more = "one of these; --help behind it tells more"
    parser.add_argument("verb", metavar="VERB", choices=[*verbs], help=more)
    parser.add_traceback()
    parser.parse_args(given)
    parser.error(f"give one of {', '.join(verbs)} first")


def split_verb(verbs: Collection[str], arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """The sub-command that comes first, if one does; ``--traceback`` may stand before it."""
    first = next((n for n, word in enumerate(arguments) if word != "--traceback"), 0)
    if arguments and arguments[first] in verbs:
        return arguments[first], [*arguments[first + 1 :], *arguments[:first]]
    return None, [*arguments]


def meant(message: str, known: set[str]) -> str:
    """What to say of options that a message calls unknown: their new name, or the nearest one."""
    found = []
    for name in re.findall(r"--[\w.-]+", message) if "unrecognized" in message else ():
        spelled = "--" + name[2:].replace("-", "_")
        near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
        if spelled in known:
            found.append(f"{name} is spelled {spelled}")
        elif near:
            found.append(f"did you mean {near[0]}?")
    return f"; {', '.join(dict.fromkeys(found))}" if found else ""


def add_options(parser: ArgumentParser, config: type) -> None:
    """An option for each field of a dataclass."""
    hints = typing.get_type_hints(config, include_extras=True)
    texts = _texts(config)
    for entry in fields(config):
        if not entry.init:
            continue
        text, default = texts.get(entry.name, ""), entry.default
        plain = default in (MISSING, None, ()) or default is False  # goes without saying
        if not plain and "default" not in text:
            text += f" (default: {_shown(default)})"
        settings = _settings(hints[entry.name], entry) | {"help": text.replace("%", "%%")}
        settings |= entry.metadata.get("option", {})
        if default is not MISSING or entry.kw_only:
            parser.add_argument(f"--{entry.name}", required=default is MISSING, **settings)
        else:
            parser.add_argument(entry.name, **{"metavar": entry.name.upper()} | settings)


def _settings(hint: Any, entry: Field[Any]) -> dict[str, Any]:
    """What argparse has to know of a field."""
    settings: dict[str, Any] = {}
    if entry.default is not MISSING:
        given = entry.default
        settings["default"] = [*given] if isinstance(given, tuple) else given
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (hint,) = [part for part in typing.get_args(hint) if part is not type(None)]
    if hint is bool:
        return settings | {"action": "store_true"}
    if typing.get_origin(hint) is tuple:
        hint, *others = typing.get_args(hint)
        settings["nargs"] = "+" if others == [...] else 1 + len(others)
    if typing.get_origin(hint) is typing.Literal:
        return settings | {"choices": typing.get_args(hint)}
    if typing.get_origin(hint) is typing.Annotated:
        kind, ranged = typing.get_args(hint)
        return settings | {"type": ranged(kind)}
    return settings | {"type": reader(hint) if hint in (int, float) else hint}


def _of(config: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a dataclass's fields; the parser's lists become tuples."""
    values = {entry.name: given[entry.name] for entry in fields(config) if entry.init}
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def _texts(config: type) -> dict[str, str]:
    """The text of each field, from ``Attributes:`` of the docstrings of a class and its bases."""
    texts: dict[str, str] = {}
    for each in reversed(config.__mro__[:-1]):
        section = (inspect.getdoc(each) or "").partition("Attributes:\n")[2]
        found = re.findall(r"^    (\w+): (.*(?:\n {6,}.*)*)", section, re.MULTILINE)
        texts |= {
            name: " ".join(text.split()).replace("``", "").rstrip(".") for name, text in found
        }
    return texts


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
