"""Files of weights, read without running any code in them: pickled, safetensors, sharded."""

from __future__ import annotations

import argparse
import hashlib
import json
import pathlib
import pickle
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

# What research code likes to store beside its weights, and what runs nothing: its command line,
# numpy's numbers, paths, Lightning's hyper-parameters (under the names that old versions gave).
_LIGHTNING = ("pytorch_lightning.utilities.parsing", "lightning_fabric.utilities.data")
_HARMLESS: list[Any] = [
    argparse.Namespace,
    np.ndarray,
    np.dtype,
    *{type(np.dtype(code)) for code in "?bhilqBHILQefdUS"},
    *(
        (np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar")
        for core in ("core", "_core")
    ),
    *(
        (np.zeros(1).__reduce__()[0], f"numpy.{core}.multiarray._reconstruct")
        for core in ("core", "_core")
    ),
    *((pathlib.PurePosixPath, f"pathlib{part}.PosixPath") for part in ("", "._local")),
    *((dict, f"{m}.AttributeDict") for m in (*_LIGHTNING, "lightning.fabric.utilities.data")),
]
# What readers raise of a file that is damaged, or is something else.
_DAMAGED = (
    *(OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError),
    *(SafetensorError, struct.error),
)
# Files that are something else, by their first bytes.
_OTHER_FILES = {
    b"version https://git-lfs": "a pointer of Git LFS, not the file it stands for: fetch it with"
    " git lfs pull",
    b"<": "a web page, not a file of weights: download it again",
}


def open_weights(path: Path) -> dict[str, Any]:
    """Content of a file of weights, without running any code in it.

    Args:
        path: a pickled dictionary, read with ``weights_only=True``, a safetensors file, or the
            index (``*.index.json``) of a sharded one, whose parts lie beside it.

    Raises:
        FileNotFoundError: no such file, or a part of a sharded file is missing.
        ValueError: truncated, something else, or it holds more than weights and plain values.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}")
    if path.suffix == ".json":
        return _read_sharded(path)
    try:
        with path.open("rb") as file:
            start = file.read(32)
        for mark, what in _OTHER_FILES.items():
            if start.startswith(mark):
                raise ValueError(what)
        if path.suffix == ".safetensors":
            return load_file(path)
        with _harmless():
            # Memory-mapped where the format allows: an optimizer's state is never read.
            content = torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except pickle.UnpicklingError as error:
        raise ValueError(_refusal(path, error)) from error
    except _DAMAGED as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{path} is not a checkpoint, or is truncated: {reason}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a dictionary of weights")
    return dict(content)


def sha256_of(path: Path) -> str:
    """Hash of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def _harmless() -> Iterator[None]:
    """Let torch read `_HARMLESS`; what it was let read before stays, which torch forgets."""
    before = torch.serialization.get_safe_globals()
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            yield
    finally:
        torch.serialization.add_safe_globals(before)


def _read_sharded(path: Path) -> dict[str, Any]:
    try:
        index = json.loads(path.read_text())
        parts = sorted({str(part) for part in index["weight_map"].values()})
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is no index of a sharded checkpoint: it has no entry 'weight_map'"
        ) from error
    missing = [part for part in parts if not (path.parent / part).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{path} names {len(parts)} files, of which {len(missing)} are not beside it,"
            f" first {', '.join(missing[:3])}"
        )
    content: dict[str, Any] = {}
    for part in parts:
        content |= open_weights(path.parent / part)
    lost = [name for name in index["weight_map"] if name not in content]
    if lost:
        raise ValueError(
            f"{path}: its files lack {len(lost)} of the weights it names, first"
            f" {', '.join(lost[:3])}; download them again"
        )
    return content


def _refusal(path: Path, error: Exception) -> str:
    """One line of why a pickled file was not opened, and what to do."""
    with _harmless():
        try:
            names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        except (OSError, RuntimeError, ValueError, pickle.UnpicklingError):
            # The old format; torch's message names one.
            names = re.findall(r"GLOBAL ([\w.]+)", str(error))[:1]
    if not names:
        found = re.search(r"WeightsUnpickler error: (.+)|(.+)", str(error).strip())
        reason = (found[1] or found[2]) if found else type(error).__name__
        return f"{path} is no checkpoint, or holds objects that could run code: {reason}"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (
        f"{path} holds objects that could run code, not only weights:"
        f" {', '.join(sorted(names)[:3])}{more}; if you trust it, open it where these are"
        " installed with torch.load(FILE, weights_only=False) and save its state_dict alone"
    )
