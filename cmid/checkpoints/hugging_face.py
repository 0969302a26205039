"""Models of Hugging Face by folder or name, refused before transformers looks for them.

For a misspelt folder it asks the hub, again and again where there is no network, and ends without
its name; for a folder of something else it lists hundreds of kinds of models.
"""

from __future__ import annotations

import re
from pathlib import Path

from cmid.data.text_files import read_json

_HUB_NAME = re.compile(r"\w[\w.-]*(/[\w.-]+)?")
_RUNS = "runs"  # where this project's commands write to, and nobody of the hub


def check_gguf(path: Path) -> Path:
    """Check that a GGUF file is there; raises FileNotFoundError where it is not."""
    if not path.is_file():
        raise FileNotFoundError(f"no model {path}: there is no such file")
    return path


def check_model(name: str) -> str:
    """Check that a model may be there.

    Args:
        name: a folder, or ``NAME`` or ``OWNER/NAME`` of the hub, which is not asked; where there is
            a folder ``OWNER``, a path within it.

    Returns:
        The name.

    Raises:
        FileNotFoundError: neither a folder nor a name that the hub can have, or the folder of none.
        ValueError: the folder of a model of another kind.
    """
    folder = _folder(name)
    if folder is None or (folder / "adapter_config.json").is_file():
        return name
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{name} is no model of Hugging Face: it has no {path.name}")
    config = read_json(path)
    if not isinstance(config, dict) or "model_type" not in config:
        raise ValueError(f"{name} is no model of Hugging Face: {path} names no model_type")
    return name


def check_tokenizer(name: str) -> str:
    """Check that a tokenizer may be there; see `check_model`.

    Raises:
        FileNotFoundError: neither a folder nor a name that the hub can have, or the folder of none.
    """
    folder = _folder(name)
    files = ("tokenizer_config.json", "tokenizer.json", "config.json")
    if folder is not None and not any((folder / file).is_file() for file in files):
        raise FileNotFoundError(f"{name} holds no tokenizer: it has no {files[0]}")
    return name


def _folder(name: str) -> Path | None:
    """The folder of a name, None for one of the hub."""
    if Path(name).is_dir():
        return Path(name)
    owner, slash, _ = name.partition("/")
    if not _HUB_NAME.fullmatch(name) or (slash and owner == _RUNS):
        raise FileNotFoundError(f"no model {name}: give a folder, or OWNER/NAME of Hugging Face")
    if slash and Path(owner).is_dir():
        raise FileNotFoundError(
            f"no model {name}: {owner} is a folder here, and has no folder of that name; one of"
            f" Hugging Face can be fetched to it: hf download {name} --local-dir {name}"
        )
    return None
