"""A folder with an encoder's weights that ``timm.create_model("local-dir:...")`` loads.

``model.safetensors`` holds the timm state dict; ``config.json`` has the form that timm reads from
the Hugging Face hub, so that the folder can also be uploaded there, plus an entry ``cmid``: where
the weights come from, and the range of raw values that was mapped to 0..1 before ``mean`` and
``std`` apply.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

import cmid
from cmid.export.checkpoint import open_checkpoint
from cmid.export.weight_files import read_file
from cmid.files import scratch_folder
from cmid.models.encoder import MaskedEncoder, MaskMode

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
# Where the encoders lie in checkpoints that do not say it themselves.
_ENCODERS_BEFORE = {"teacher": "teacher.module.encoder.", "student": "student.encoder."}

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


def to_timm(
    source: MaskedEncoder | str | Path,
    folder: str | Path,
    *,
    statistics: Any = None,
    provenance: Mapping[str, Any] | None = None,
    which: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write an encoder as a timm folder: complete or not at all.

    Args:
        source: an encoder, or the path of a checkpoint of a `PretrainMethod`.
        folder: folder to write.
        statistics: mapping or dataclass with ``mean`` and ``std`` (one number per channel, of
            values in 0..1) and, if raw values have another range, ``low`` and ``high``. Default:
            the checkpoint's; for an encoder, timm's of the architecture.
        provenance: more entries of ``config.json``'s ``cmid``, plain values.
        which: role of the encoder in the checkpoint (``student``, ``teacher``); default the one
            that the method exports. For CMID that is the student: in every run we measured
            (``benchmarks/reports``) it classified better than the teacher, which lags behind it.
        overwrite: replace an earlier export.

    Returns:
        The folder.

    Raises:
        FileExistsError: the folder exists.
        FileNotFoundError: the checkpoint does not.
        ValueError: not a checkpoint of ours, weights missing, statistics of other channels.

    Example:
        >>> to_timm("last.ckpt", "resnet50_cmid")  # doctest: +SKIP
        >>> timm.create_model("local-dir:resnet50_cmid", pretrained=True)  # doctest: +SKIP
    """
    folder = Path(folder)
    _check_target(folder, overwrite=overwrite)
    origin: dict[str, Any] = {"version": cmid.__version__}
    if isinstance(source, MaskedEncoder):
        encoder = source
    else:
        encoder, origin = read_checkpoint(Path(source), which)
    config = _config(encoder, _as_mapping(statistics) or origin)
    config["cmid"] |= _plain(origin) | dict(provenance or {})
    # safetensors stores memory as it lies; channels_last weights must be brought in order.
    weights = {
        name: tensor.detach().to("cpu", memory_format=torch.contiguous_format).contiguous()
        for name, tensor in encoder.backbone.state_dict().items()
    }
    _write(folder, weights, config)
    return folder


def load_encoder(
    folder: str | Path, *, mask_mode: MaskMode = "add", **model_args: Any
) -> MaskedEncoder:
    """Build an encoder from a folder that :func:`to_timm` wrote, for example to pretrain further.

    The mask token is not exported and starts at zero. ``model_args`` go to ``timm.create_model``
    (``drop_path_rate``) and win over those of the export.

    Raises:
        FileNotFoundError: the folder or a file of it is missing.
        ValueError: not an export of ours, or other weights than the config was written with.
    """
    folder = Path(folder)
    config = read_config(folder)
    if not (folder / WEIGHTS_FILE).is_file():
        raise FileNotFoundError(f"{folder} is no whole export: it has no {WEIGHTS_FILE}")
    if _sha256(folder / WEIGHTS_FILE) != config["cmid"]["sha256"]:
        raise ValueError(f"{folder / WEIGHTS_FILE} is damaged: it is not the file of {CONFIG_FILE}")
    encoder = _build(
        config["architecture"],
        config["model_args"] | model_args,
        img_size=config["pretrained_cfg"]["input_size"][-1],
        mask_mode=mask_mode,
        stem=config["cmid"]["stem"],
    )
    _load_weights(encoder, read_file(folder / WEIGHTS_FILE), where=str(folder))
    return encoder


def read_config(folder: Path) -> dict[str, Any]:
    """The ``config.json`` of an export, with all entries that loading needs.

    Raises:
        FileNotFoundError: the folder has none.
        ValueError: not JSON, not written by :func:`to_timm`, or an entry is missing or of another
            kind; names the entry.
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


def _check_target(folder: Path, *, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not overwrite:
        raise FileExistsError(f"{folder} exists; replace it with --overwrite (overwrite=True)")
    # Replacing removes the folder: never one that holds anything else.
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {""}
    if not names <= {WEIGHTS_FILE, CONFIG_FILE}:
        raise FileExistsError(f"{folder} is not an export; --overwrite would delete other files")


def read_checkpoint(
    path: Path, which: str | None = None, **model_args: Any
) -> tuple[MaskedEncoder, dict[str, Any]]:
    """Rebuild one encoder of a checkpoint of a `PretrainMethod`.

    Args:
        which: its role; default the one that the method exports.

    Returns:
        The encoder, and the checkpoint's entry ``cmid``: architecture, statistics, provenance.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint of ours, truncated, or weights missing.
    """
    checkpoint = open_checkpoint(path)
    if "model_name" not in checkpoint.get("cmid", {}):
        raise ValueError(f"{path} is not a checkpoint of a pretraining: it has no entry 'cmid'")
    origin = {"encoders": _ENCODERS_BEFORE, "exported": "student"} | checkpoint["cmid"]
    which = which or origin["exported"]
    if which not in origin["encoders"]:
        roles = " or ".join(map(repr, origin["encoders"]))
        raise ValueError(f"which must be {roles}, got {which!r}")
    encoder = _build(
        origin["model_name"],
        origin["model_kwargs"] | {"in_chans": origin["in_chans"]} | model_args,
        img_size=origin["img_size"],
        stem=origin.get("stem"),
        mask_mode=origin.get("mask_mode", "add"),
    )
    prefix = origin["encoders"][which] + "backbone."
    weights = {
        name.removeprefix(prefix): tensor
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith(prefix)
    }
    _load_weights(encoder, weights, where=f"{path} ({which})")
    return encoder, origin | {"which": which}


def _build(
    name: str,
    model_args: Mapping[str, Any],
    *,
    img_size: int,
    stem: str | None,
    mask_mode: MaskMode = "add",
) -> MaskedEncoder:
    args = {"img_size": img_size} | dict(model_args)
    if isinstance(args["img_size"], list | tuple):
        args["img_size"] = args["img_size"][-1]
    try:
        return MaskedEncoder(name, mask_mode=mask_mode, stem=stem, **args)
    # What timm raises of arguments that somebody changed depends on the argument.
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError) as error:
        given = ", ".join(f"{key}={value!r}" for key, value in args.items())
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"timm cannot build {name} with {given}: {reason}") from error


def _load_weights(encoder: MaskedEncoder, weights: Mapping[str, Tensor], *, where: str) -> None:
    expected = encoder.backbone.state_dict()
    faults = {
        "missing": [name for name in expected if name not in weights],
        "unknown": [name for name in weights if name not in expected],
        "of another shape": [
            name
            for name, tensor in weights.items()
            if name in expected and tensor.shape != expected[name].shape
        ],
    }
    found = [
        f"{len(names)} weights {fault}, first {', '.join(names[:5])}"
        for fault, names in faults.items()
        if names
    ]
    if found:
        raise ValueError(f"{where} does not hold a {encoder.name}: {'; '.join(found)}")
    encoder.backbone.load_state_dict(weights)


def _config(encoder: MaskedEncoder, statistics: Mapping[str, Any]) -> dict[str, Any]:
    """The content of ``config.json``, without the hash."""
    args = {k: v for k, v in encoder.model_args.items() if not k.endswith("drop_rate")}
    args = {k: v for k, v in args.items() if k not in ("drop_path_rate", "drop_block_rate")}
    known = encoder.backbone.pretrained_cfg
    moments = {k: [float(v) for v in statistics.get(k, known[k])] for k in ("mean", "std")}
    for name, values in moments.items():
        if len(values) != encoder.in_chans:
            raise ValueError(
                f"statistics: {len(values)} values of {name} for {encoder.in_chans} channels"
            )
    any_size = args.get("dynamic_img_size") or not args.get("strict_img_size", True)
    return {
        "architecture": encoder.name.partition(".")[0],
        "num_classes": 0,
        "num_features": encoder.pooled_dim,
        "global_pool": args.get("global_pool", "avg"),
        # timm passes these to the model when the folder is loaded; the caller's own win.
        "model_args": args,
        "pretrained_cfg": {
            "input_size": [encoder.in_chans, encoder.img_size, encoder.img_size],
            "fixed_input_size": bool(known.get("fixed_input_size")) and not any_size,
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "center",
            **moments,
            "num_classes": 0,
            "pool_size": None,
            # The names let timm replace a classifier and adapt the weights to other channels.
            "first_conv": known.get("first_conv"),
            "classifier": known.get("classifier"),
        },
        "cmid": {
            "stem": encoder.stem_name,
            **{k: [float(v) for v in statistics[k]] for k in ("low", "high") if k in statistics},
            **({"kind": str(statistics["kind"])} if statistics.get("kind") else {}),
        },
    }


def _as_mapping(statistics: Any) -> Mapping[str, Any]:
    if is_dataclass(statistics) and not isinstance(statistics, type):
        return asdict(statistics)
    return statistics or {}


def _plain(origin: Mapping[str, Any]) -> dict[str, Any]:
    """Provenance from a checkpoint's entry, without what ``config.json`` says elsewhere."""
    elsewhere = {"model_name", "in_chans", "img_size", "model_kwargs", "mean", "std", "low", "high"}
    elsewhere |= {"kind", "encoders", "exported"}
    return {key: value for key, value in origin.items() if key not in elsewhere}


def _write(folder: Path, weights: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Write a sibling folder and rename it: nobody ever sees half an export."""
    with scratch_folder(folder) as scratch:
        new = scratch / "new"
        new.mkdir()
        save_file(weights, new / WEIGHTS_FILE, metadata={"format": "pt"})
        config["cmid"]["sha256"] = _sha256(new / WEIGHTS_FILE)
        (new / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
        if folder.exists():
            folder.rename(scratch / "old")
        new.rename(folder)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
