"""Where the configurations are: beside the sources of a checkout, inside an installed package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parent
FOLDER = "configs"


def find_configuration(name: str | Path) -> Path:
    """A file as it is named, or else, for a name that begins with ``configs/``, the project's own.

    A name that is neither is returned as it is: who opens it tells that it is missing.
    """
    path = Path(name)
    if not path.is_file() and path.parts[:1] == (FOLDER,):
        for home in (_PACKAGE, _CHECKOUT):
            if (home / path).is_file():
                return home / path
    return path


def working_folder() -> Path:
    """What relative paths of configurations start from: the checkout, or the current folder."""
    return Path.cwd() if (_PACKAGE / FOLDER).is_dir() else _CHECKOUT
