"""Exported folders, as `cmid.export.to_timm` writes them.

``model.safetensors`` holds the timm state dict; ``config.json`` says how to build the network and
how images were standardised.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from cmid.checkpoints.stored import StoredEncoder
from cmid.checkpoints.weight_files import open_weights, sha256_of
from cmid.data.statistics import ChannelStatistics

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"

# What loading needs of config.json.
_NEEDED: dict[str, type] = {
    "architecture": str,
    "model_args": dict,
    "cmid": dict,
    "cmid.sha256": str,
    "cmid.stem": str,
    "pretrained_cfg": dict,
    "pretrained_cfg.input_size": list,
    "pretrained_cfg.mean": list,
    "pretrained_cfg.std": list,
}


@dataclass(frozen=True, kw_only=True)
class ExportedEncoder(StoredEncoder):
    """The encoder of an exported folder.

    Attributes:
        config: contents of ``config.json``.
    """

    config: Mapping[str, Any] = field(repr=False)

    @classmethod
    def open(cls, folder: str | Path) -> ExportedEncoder:
        """Read ``config.json``.

        Raises:
            FileNotFoundError: the folder has none.
            ValueError: as `read_config`.
        """
        config = read_config(Path(folder))
        return cls(
            source=str(folder),
            architecture=config["architecture"],
            model_args=config["model_args"],
            img_size=config["pretrained_cfg"]["input_size"][-1],
            stem=config["cmid"]["stem"],
            provenance=config["cmid"],
            config=config,
        )

    @property
    def statistics(self) -> ChannelStatistics:
        recorded = {key: self.config["pretrained_cfg"][key] for key in ("mean", "std")}
        return ChannelStatistics.from_mapping(dict(self.config["cmid"]) | recorded)

    def weights(self) -> Mapping[str, Tensor]:
        """Read them, after their file was compared with the hash that ``config.json`` gives.

        Raises:
            FileNotFoundError: their file is missing.
            ValueError: it is another one.
        """
        path = Path(self.source) / WEIGHTS_FILE
        if not path.is_file():
            raise FileNotFoundError(f"{self.source} is no whole export: it has no {WEIGHTS_FILE}")
        if sha256_of(path) != self.config["cmid"]["sha256"]:
            raise ValueError(f"{path} is damaged: it is not the file of {CONFIG_FILE}")
        return open_weights(path)


def read_config(folder: Path) -> dict[str, Any]:
    """The ``config.json`` of an export, with all entries that loading needs.

    Raises:
        FileNotFoundError: the folder has none.
        ValueError: not JSON, not written by `cmid.export.to_timm`, or an entry is missing or of
            another kind; names the entry.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} is not an export: it has no {CONFIG_FILE}; for weights of another kind name"
            " their file, not the folder"
        )
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}; export again") from error
    if not isinstance(config, dict) or "cmid" not in config:
        raise ValueError(f"{folder} is not an export of cmid; config.json has no entry 'cmid'")
    for name, kind in _NEEDED.items():
        value: Any = config
        for key in name.split("."):
            value = value.get(key)
        fits = isinstance(value, kind)
        if kind is list:
            fits = fits and all(isinstance(x, int | float) for x in value)
            size = config["pretrained_cfg"]["input_size"]
            fits = fits and len(value) == (3 if value is size else size[0])
        if not fits:
            what = "list of a number for each band" if kind is list else kind.__name__
            raise ValueError(
                f"{path} was changed: its entry {name!r} is {value!r}, not a {what}; export again"
            )
    return config
