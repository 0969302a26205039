"""The networks in a file of weights: where they lie, which is the encoder, how to choose another.

Research code nests its weights in dictionaries (``state_dict``, ``model``, ``teacher``) and begins
their names with those of its wrappers (``module.backbone.``). Both are found by names that only
one architecture has, whatever leads to them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from cmid.checkpoints.layouts import MARKS, Weights
from cmid.checkpoints.strict import below

# Wrappers that leave a part of theirs anywhere in a name: torch.compile, FSDP, checkpointing.
_WRAPPERS = re.compile(r"\b(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# Entries in the order in which they are taken; DINO's and iBOT's teacher is the published one.
_ENTRIES = ("model", "teacher", "state_dict")
# Copies that follow another network, which is taken where a file holds both.
_AVERAGED = re.compile(r"(?:^|[_./])(?:ema|swa|momentum|target|averag\w+|k|key)(?:[_./]|$)")
_STUDENT = re.compile(r"(?:^|[_./])student(?:[_./]|$)")
_DECODER = re.compile(r"(?:^|\.)decoder")
# A stage of a network looks like a network of its own.
_PARTS = ("layers", "stages", "blocks")
_DEPTH = 5


@dataclass(frozen=True)
class Network:
    """An encoder in a file.

    Attributes:
        entry: keys of the dictionaries that lead to it, joined by ``/``; empty: none.
        prefix: how the names of its weights begin there.
        layout: naming scheme of the rest, a key of `cmid.checkpoints.layouts.LAYOUTS`.
        stored: all weights of the entry, by their whole names.
    """

    entry: str
    prefix: str
    layout: str
    stored: Weights = field(repr=False)

    @property
    def name(self) -> str:
        """Entry and prefix, ``state_dict/module.encoder_q``: how a user names it."""
        parts = (self.entry, self.prefix.rstrip("."))
        return "/".join(part for part in parts if part) or "the file's own"

    @property
    def weights(self) -> Weights:
        """Its weights, without the prefix."""
        return below(self.stored, self.prefix)


def find_networks(content: Mapping[str, Any], path: Path) -> list[Network]:
    """All encoders in a file's content, the one to take first.

    Raises:
        ValueError: no weights, or none of a layout that we know; names the first entries.
    """
    entries = dict(_entries(content))
    if not entries:
        first = ", ".join(map(str, list(content)[:5]))
        raise ValueError(f"{path} holds no weights; its entries are {first}")
    found = [network for entry, stored in entries.items() for network in _in_entry(entry, stored)]
    if not found:
        largest = max(entries.values(), key=len)
        raise ValueError(
            f"{path} has no layout that we know; its first weights are"
            f" {', '.join(list(largest)[:5])}"
        )
    return sorted(found, key=_rank)


def choose(networks: Sequence[Network], which: str | None, path: Path) -> Network:
    """The network that ``which`` names: a whole name, or a part of it that only one has.

    Raises:
        ValueError: none has that name, or several have; names all.
    """
    if which is None:
        return networks[0]
    exact = [network for network in networks if network.name == which]
    named = exact or [n for n in networks if which in re.split(r"[/.]", n.name)]
    if len(named) == 1:
        return named[0]
    fault = "several networks are" if named else "no network is"
    names = ", ".join(network.name for network in networks)
    raise ValueError(f"{path}: {fault} called {which!r}; it holds {names}")


def _entries(content: Mapping[Any, Any], path: str = "", depth: int = 0) -> Iterator[Any]:
    """Every dictionary that holds tensors by name, with the keys that lead to it."""
    tensors = {
        _WRAPPERS.sub("", name): value
        for name, value in content.items()
        if isinstance(value, Tensor) and isinstance(name, str)
    }
    if tensors:
        yield path, tensors
    if depth == _DEPTH:
        return
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _entries(value, f"{path}/{name}" if path else str(name), depth + 1)


def _in_entry(entry: str, stored: Weights) -> Iterator[Network]:
    layouts: dict[str, str] = {}
    for layout, mark in MARKS.items():
        for name in stored:
            if name == mark or name.endswith(f".{mark}"):
                layouts.setdefault(name.removesuffix(mark), layout)
    for prefix, layout in layouts.items():
        inside = (
            prefix.removeprefix(other).split(".")[0]
            for other in layouts
            if other != prefix and prefix.startswith(other)
        )
        if not _DECODER.search(prefix) and not any(part in _PARTS for part in inside):
            yield Network(entry, prefix, layout, stored)


def _rank(network: Network) -> tuple[bool, bool, int]:
    """Sort key; networks of equal rank stay in the order of the file."""
    entry = network.entry.partition("/")[0]
    order = _ENTRIES.index(entry) if entry in _ENTRIES else len(_ENTRIES)
    averaged, student = _AVERAGED.search(network.name), _STUDENT.search(network.name)
    return averaged is not None, student is not None, order
