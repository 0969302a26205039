"""A folder with an encoder's weights that ``timm.create_model("local-dir:...")`` loads.

``model.safetensors`` holds the timm state dict; ``config.json`` has the form that timm reads from
the Hugging Face hub, so that the folder can also be uploaded there, plus an entry ``cmid``: where
the weights come from, and the range of raw values that was mapped to 0..1 before ``mean`` and
``std`` apply. ``README.md`` is the page that the hub shows of it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

import cmid
from cmid.checkpoints.exports import CONFIG_FILE, WEIGHTS_FILE
from cmid.checkpoints.runs import TrainedEncoder
from cmid.checkpoints.weight_files import sha256_of
from cmid.data.statistics import ChannelStatistics
from cmid.export.model_card import CARD_FILE, model_card
from cmid.files import new_folder
from cmid.models.encoder import MaskedEncoder

logger = logging.getLogger(__name__)


def to_timm(
    source: MaskedEncoder | str | Path,
    folder: str | Path,
    *,
    statistics: ChannelStatistics | Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    which: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write an encoder as a timm folder: complete or not at all.

    Args:
        source: an encoder, or the path of a checkpoint of pretraining.
        folder: folder to write.
        statistics: or a mapping with ``mean`` and ``std`` (one number per channel, of
            values in 0..1) and, if raw values have another range, ``low`` and ``high``. Default:
            the checkpoint's; for an encoder, timm's of the architecture.
        provenance: more entries of ``config.json``'s ``cmid``, plain values.
        which: role of the encoder in the checkpoint (``student``, ``teacher``); default the one
            that the method exports. For CMID that is the student: in every run we measured
            (``benchmarks/reports``) it classified better than the teacher, which lags behind it.
        overwrite: replace an earlier export; what was edited in its ``README.md`` stays.

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
        stored = TrainedEncoder.open(source, which)
        encoder, origin = stored.build(), dict(stored.provenance)
        statistics = statistics or stored.statistics
    if not isinstance(statistics, ChannelStatistics):
        known = encoder.backbone.pretrained_cfg
        moments = {key: known[key] for key in ("mean", "std")}
        statistics = ChannelStatistics.from_mapping(moments | dict(statistics or {}))
    config = _config(encoder, statistics)
    config["cmid"] |= origin | dict(provenance or {})
    # safetensors stores memory as it lies; channels_last weights must be brought in order.
    weights = {
        name: tensor.detach().to("cpu", memory_format=torch.contiguous_format).contiguous()
        for name, tensor in encoder.backbone.state_dict().items()
    }
    _write(folder, weights, config)
    return folder


def _check_target(folder: Path, *, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not overwrite:
        raise FileExistsError(f"{folder} exists; replace it with --overwrite (overwrite=True)")
    # Replacing removes the folder: never one that holds anything else.
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {""}
    if not names <= {WEIGHTS_FILE, CONFIG_FILE, CARD_FILE}:
        raise FileExistsError(f"{folder} is not an export; --overwrite would delete other files")


def _config(encoder: MaskedEncoder, statistics: ChannelStatistics) -> dict[str, Any]:
    """The content of ``config.json``, without the hash."""
    args = {k: v for k, v in encoder.model_args.items() if not k.endswith("drop_rate")}
    args = {k: v for k, v in args.items() if k not in ("drop_path_rate", "drop_block_rate")}
    known = encoder.backbone.pretrained_cfg
    recorded = statistics.to_plain()
    moments = {key: recorded.pop(key) for key in ("mean", "std")}
    if len(statistics.mean) != encoder.in_chans:
        raise ValueError(
            f"statistics: {len(statistics.mean)} values of mean for {encoder.in_chans} channels"
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
            "parameters": sum(each.numel() for each in encoder.backbone.parameters()),
            **recorded,
        },
    }


def _write(folder: Path, weights: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Write all files or none: nobody ever sees half an export. A card that was edited stays."""
    with new_folder(folder, replace=True) as new:
        save_file(weights, new / WEIGHTS_FILE, metadata={"format": "pt"})
        config["cmid"]["sha256"] = sha256_of(new / WEIGHTS_FILE)
        card = model_card(config).encode()
        config["cmid"]["card_sha256"] = hashlib.sha256(card).hexdigest()
        (new / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
        (new / CARD_FILE).write_bytes(_edited_card(folder) or card)


def _edited_card(folder: Path) -> bytes | None:
    """The card of an earlier export, if it is not the one that was written with it."""
    path = folder / CARD_FILE
    if not path.is_file():
        return None
    card = path.read_bytes()
    try:
        written = json.loads((folder / CONFIG_FILE).read_text())["cmid"]["card_sha256"]
    except (OSError, ValueError, KeyError):  # a damaged config.json tells nothing of the card
        written = None
    if hashlib.sha256(card).hexdigest() == written:
        return None
    logger.warning("%s was edited and stays: see whether it is true of the new weights", path)
    return card
