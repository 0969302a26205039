"""What a run of a suite was made with, kept beside its result: other runs are not taken for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.openmmlab.experiment import load_config, parse_options
from benchmarks.suite.tasks import Task
from cmid.checkpoints import UntrainedEncoder, identify
from cmid.checkpoints.exports import ExportedEncoder
from cmid.checkpoints.weight_files import sha256_of
from cmid.files import write_json

RECORD = "settings.json"
_LEFT = ("result.json", "last_checkpoint")  # what a run that was begun leaves


def settings_of(task: Task, options: Sequence[str]) -> dict[str, Any]:
    """What runs of a task are made with, besides what their folders are named after.

    A run's settings are these and, as ``backbone``, the `backbone_digest` of its backbone.

    Args:
        options: ``key=value`` overrides of the configuration, besides the task's own.

    Returns:
        ``options``, and a digest of the resolved ``configuration``.

    Raises:
        FileNotFoundError, ValueError: as `benchmarks.openmmlab.experiment.load_config`.
    """
    config = load_config(task.config, options=parse_options([*task.options, *options]))
    text = json.dumps(config.to_dict(), sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"options": [*options], "configuration": digest}


def backbone_digest(spec: str) -> str:
    """A key of what a name of a backbone stands for: it changes when its weights do.

    Of an exported folder the hash of its weights that ``config.json`` gives, with the arguments and
    statistics there; of a file, its own; of either one's untrained network, a hash of that; of
    other names, the name.

    Raises:
        FileNotFoundError, ValueError: as `cmid.checkpoints.identify`.
    """
    stored, path = identify(spec), Path(spec)
    about = spec
    if isinstance(stored, ExportedEncoder):
        weights = stored.provenance["sha256"]
        about = f"{weights} {stored.architecture} {stored.model_args} {stored.statistics}"
    elif isinstance(stored, UntrainedEncoder):
        about = f"untrained {backbone_digest(spec.removeprefix('random:'))}"
    elif path.is_file():
        about = sha256_of(path)
    return hashlib.sha256(about.encode()).hexdigest()


def check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Make sure that the run in a folder, if one tells its settings, is the one asked for.

    Raises:
        ValueError: it was made with other options, another configuration or another backbone.
    """
    path = folder / RECORD
    found = json.loads(path.read_text()) if path.is_file() else settings
    reason = ""
    if found["backbone"] != settings["backbone"]:
        reason = "another backbone of this name"
    elif found["configuration"] != settings["configuration"]:
        reason = "another state of the configuration"
        if found["options"] != settings["options"]:
            reason = f"--cfg_options {' '.join(found['options'])}"
            reason = reason if found["options"] else "no --cfg_options"
    if reason:
        raise ValueError(f"{folder} was made with {reason}: give another --out, or move it away")


def take_folder(folder: Path, settings: Mapping[str, Any]) -> None:
    """Make a folder ready for a run, or for going on with it.

    Runs of earlier versions do not tell what they were made with: they are set aside, in a folder
    beside, and made again.

    Raises:
        ValueError: as `check_settings`.
    """
    check_settings(folder, settings)
    if not (folder / RECORD).is_file() and any((folder / name).is_file() for name in _LEFT):
        aside = folder.with_name(f"{folder.name}-unrecorded")
        folder.rename(aside)
        tqdm.write(f"{folder} does not tell its settings: moved to {aside.name}, and made again")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RECORD, dict(settings))
