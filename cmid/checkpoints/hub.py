"""Exports that were uploaded to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from cmid.checkpoints.exports import CONFIG_FILE, WEIGHTS_FILE

HUB = "hf-hub:"


def hub_folder(spec: str) -> Path:
    """The folder of an export of the hub, downloaded where this machine does not have it yet.

    Args:
        spec: ``hf-hub:OWNER/NAME``, with ``@REVISION`` (a branch, tag or commit) if it is not the
            newest; timm writes it alike.

    Raises:
        FileNotFoundError: the hub has no such model or revision, or cannot be reached.
        ValueError: it is no name that the hub can have.
    """
    name, _, revision = spec.removeprefix(HUB).partition("@")
    if name.count("/") != 1:
        raise ValueError(f"{spec}: give {HUB}OWNER/NAME, or {HUB}OWNER/NAME@REVISION")
    files = [CONFIG_FILE, WEIGHTS_FILE]
    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=files))
    except HFValidationError as error:
        raise ValueError(f"{spec} is no name of the hub: {error}") from error
    except RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"{spec}: the hub has no such model, or it is private: 'hf auth login' signs in"
        ) from error
    except RevisionNotFoundError as error:
        raise FileNotFoundError(f"{spec}: the model has no such revision") from error
    except LocalEntryNotFoundError as error:
        raise FileNotFoundError(
            f"{spec} is not on this machine, and the hub cannot be reached: download it elsewhere"
            f" by 'hf download {name}', and name its folder"
        ) from error
