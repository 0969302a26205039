"""A CLIP on disk: a folder of open_clip's own form.

``open_clip.create_model("local-dir:FOLDER")`` loads it; an entry ``cmid`` of its configuration says
what open_clip does not know: how patches are read, range and statistics of the bands, provenance.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from cmid.checkpoints.runs import open_checkpoint
from cmid.checkpoints.strict import below, load_strictly
from cmid.checkpoints.weight_files import open_weights, sha256_of
from cmid.console import warn
from cmid.files import whole_file
from cmid.vision_language.clip.building import build_clip, rebuild
from cmid.vision_language.clip.config import CLIPConfig, DenseMode
from cmid.vision_language.clip.model import (
    CLIP,
    SIGLIP_LOGIT_BIAS,
    SIGLIP_LOGIT_SCALE,
    interpolate,
)

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"
# Our names of weights, and open_clip's.
_PREFIXES = {
    "image.visual.": "visual.",
    "image.trunk.": "visual.trunk.",
    "image.head.": "visual.head.",
    "text.module.": "text.",
}
_OURS = re.compile(rf"^(?:{'|'.join(map(re.escape, _PREFIXES))})")


def save_clip(
    clip: CLIP, folder: str | Path, *, provenance: Mapping[str, Any] | None = None
) -> Path:
    """Write a CLIP as a folder, each file whole or not at all; an earlier one is replaced.

    Args:
        provenance: plain values that the configuration keeps under ``cmid``.
    """
    folder = Path(folder)
    weights = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in _open_clip_names(clip.state_dict()).items()
    }
    statistics = clip.image.statistics.to_plain()
    size = clip.size
    about = clip.origin | {"statistics": statistics} | dict(provenance or {})
    config = {
        "model_cfg": _for_open_clip(clip),
        "preprocess_cfg": {
            "mean": statistics["mean"],
            "std": statistics["std"],
            "size": [size, size],
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
        "cmid": about,
    }
    files = (folder / CONFIG_FILE, folder / WEIGHTS_FILE)
    with whole_file(files[0]) as partial, whole_file(files[1]) as scratch:
        save_file(weights, scratch, metadata={"format": "pt"})
        about["sha256"] = sha256_of(scratch)
        partial.write_text(json.dumps(config, indent=2) + "\n")
    return folder


def check_clip(spec: str) -> None:
    """Check that a CLIP may be there; raises FileNotFoundError for a path that leads nowhere."""
    name = spec.partition(":")[0]
    if "/" in name and not Path(name).exists():
        raise FileNotFoundError(f"no CLIP {name}: give a folder, NAME or NAME:TAG of open_clip")


def load_clip(spec: str | Path, *, dense_mode: DenseMode | None = None) -> CLIP:
    """Load a CLIP for evaluation.

    Args:
        spec: a folder of `save_clip`; a checkpoint (``.ckpt``) of training; ``NAME`` for an
            untrained model of open_clip (or the path of a JSON of its form), with a warning;
            ``NAME:TAG`` or ``NAME:FILE`` for weights.
        dense_mode: how patch features are read; None keeps what the folder says.

    Raises:
        FileNotFoundError: no such folder, or a file of it is missing.
        ValueError: damaged weights, or a folder that is no CLIP.
    """
    if Path(spec).suffix == ".ckpt":
        clip = read_clip_checkpoint(Path(spec), dense_mode=dense_mode)[0]
    elif not Path(spec).is_dir():
        check_clip(str(spec))
        name, _, weights = str(spec).partition(":")
        clip = build_clip(CLIPConfig(name, weights or None, dense_mode=dense_mode))
        if not weights:
            warn(f"{name} has random weights: {name}:TAG or {name}:FILE names trained ones")
    else:
        clip = _load_folder(Path(spec), dense_mode)
    return clip.eval().requires_grad_(False)


def starting_clip(parameters: CLIPConfig, *, sigmoid: bool = False) -> CLIP:
    """The CLIP that training starts from: built, or that of a folder of `save_clip`.

    A folder keeps its own way to read patches, scale and bias, unless the parameters name others.

    Args:
        sigmoid: it is to be trained with SigLIP's loss, and needs a bias.

    Raises:
        FileNotFoundError, ModuleNotFoundError, ValueError: as `build_clip` and `load_clip`;
            also a folder together with what it brings itself.
    """
    if not Path(parameters.name).is_dir():
        return build_clip(parameters, sigmoid=sigmoid)
    own = ("weights", "backbone", "image_size", "context_length")
    given = [name for name in own if getattr(parameters, name) is not None]
    if given:
        raise ValueError(
            f"model.clip.name {parameters.name} is a folder with its own {given[0]}: leave out"
            f" model.clip.{given[0]}"
        )
    clip = _load_folder(Path(parameters.name), parameters.dense_mode)
    scale, bias = parameters.logit_scale, parameters.logit_bias
    if clip.logit_bias is None and (sigmoid or bias is not None):
        scale = SIGLIP_LOGIT_SCALE if scale is None else scale
        bias = SIGLIP_LOGIT_BIAS if bias is None else bias
    if scale is not None:
        clip.logit_scale = torch.nn.Parameter(torch.tensor(float(scale)))
    if bias is not None:
        clip.logit_bias = torch.nn.Parameter(torch.tensor(float(bias)))
    return clip


def export_checkpoint(path: str | Path, folder: str | Path, *, alpha: float = 1.0) -> Path:
    """Write the CLIP of a training checkpoint as a folder.

    Args:
        alpha: share of the trained weights; the rest is the model that training started from
            (WiSE-FT, see :func:`cmid.vision_language.clip.model.interpolate`).

    Raises:
        FileNotFoundError, IsADirectoryError: no such checkpoint; a folder.
        ValueError: not a checkpoint of a CLIP, or alpha outside [0, 1].
    """
    if Path(path).is_dir():
        raise IsADirectoryError(f"{path} is a folder: give the checkpoint (.ckpt) of a run")
    if not 0 <= alpha <= 1:
        raise ValueError(f"the share of the trained weights (--wise_ft) {alpha} is not in [0, 1]")
    clip, origin = read_clip_checkpoint(Path(path))
    if alpha != 1:
        # Random parts of the start are drawn anew from the run's seed, as training drew them.
        torch.manual_seed(origin["seed"])
        clip = interpolate(starting_clip(CLIPConfig(**origin["start"])), clip, alpha)
    kept = ("version", "method", "global_step", "epoch", "weights", "distillation")
    provenance = {key: origin[key] for key in kept} | {"wise_ft": alpha}
    return save_clip(clip, folder, provenance=provenance)


def read_clip_checkpoint(
    path: Path, *, dense_mode: DenseMode | None = None
) -> tuple[CLIP, dict[str, Any]]:
    """The CLIP of a checkpoint of training, and the checkpoint's entry ``cmid``.

    Args:
        dense_mode: how patch features are read; None keeps what the checkpoint says.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated, or not a checkpoint of a CLIP.
    """
    checkpoint = open_checkpoint(path)
    if "model_cfg" not in checkpoint.get("cmid", {}):
        raise ValueError(f"{path} is not a checkpoint of tools/train_clip.py")
    origin = dict(checkpoint["cmid"])
    weights = _open_clip_names(below(checkpoint["state_dict"], "clip."))
    return _loaded(origin["model_cfg"], origin["origin"], weights, dense_mode, path), origin


def _for_open_clip(clip: CLIP) -> dict[str, Any]:
    extra = {"custom_text": True}
    if clip.logit_bias is not None:
        extra["init_logit_bias"] = 0.0  # type: ignore[assignment]
    return clip.model_cfg | extra


def _open_clip_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our names of weights to open_clip's."""
    return {
        _OURS.sub(lambda found: _PREFIXES[found[0]], name): tensor
        for name, tensor in weights.items()
    }


def _load_folder(folder: Path, dense_mode: DenseMode | None) -> CLIP:
    for file in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / file).is_file():
            raise FileNotFoundError(f"{folder} is no CLIP: it has no {file}")
    config = json.loads((folder / CONFIG_FILE).read_text())
    if "cmid" not in config:
        raise ValueError(f"{folder} was not written by cmid: {CONFIG_FILE} has no entry 'cmid'")
    if sha256_of(folder / WEIGHTS_FILE) != config["cmid"]["sha256"]:
        raise ValueError(f"{folder / WEIGHTS_FILE} is damaged: it is not the file of {CONFIG_FILE}")
    weights = open_weights(folder / WEIGHTS_FILE)
    return _loaded(config["model_cfg"], config["cmid"], weights, dense_mode, folder)


def _loaded(
    model_cfg: Mapping[str, Any],
    origin: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    dense_mode: DenseMode | None,
    where: Path,
) -> CLIP:
    """A CLIP with weights of open_clip's names, all of them."""
    about = dict(origin) | ({} if dense_mode is None else {"dense_mode": dense_mode})
    clip = rebuild(model_cfg, about, bias="logit_bias" in weights)
    load_strictly(
        _open_clip_names(clip.state_dict()),
        weights,
        refusal=lambda misfit: f"{where} holds another model: {misfit}",
    )
    return clip
