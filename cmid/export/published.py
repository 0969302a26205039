"""Published checkpoints of CMID and other methods as encoders.

Understood: CMID (ResNet-50, and Swin-B in OpenMMLab's names; whole checkpoints and bare backbones),
MAE, SimMIM (Swin), MoCo-v2, MoCo-v3, DINO, iBOT, SeCo, and any file of ResNet (torchvision, timm,
OpenMMLab), Swin (original, timm, OpenMMLab), ViT or ConvNeXt (timm, OpenMMLab) weights; also
the published checkpoints of OpenMMLab, whose heads are dropped (those of a training run hold more
than weights, and are refused).
"""

from __future__ import annotations

import argparse
import pickle
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

from cmid.data.statistics import MILLION_AID
from cmid.export.layouts import LAYOUTS, Weights, find_architecture, find_layout
from cmid.models.encoder import MaskedEncoder

# Where a checkpoint keeps the weights, the better ones first (DINO's and iBOT's teacher).
_ENTRIES = ("model", "teacher", "state_dict")
# How the encoder's names begin there; the first that leads to a known layout counts.
_PREFIXES = (
    "online_encoder.model.",  # CMID
    "module.encoder_q.",  # MoCo-v2
    "encoder_q.",  # SeCo
    "module.base_encoder.",  # MoCo-v3
    "module.backbone.",  # DINO
    "backbone.",
    "encoder.",  # SimMIM
    "module.",
    "",
)
# Parts of a network that an encoder does not have.
_HEADS = re.compile(r"fc\.|head\.(?!norm\.)|decoder|mask_token|masked_embed|stage\d_norm\.")
# Computed from the architecture, not learned; compared where timm has them too.
_DERIVED = ("relative_position_index", "attn_mask", "relative_coords_table")


def is_published(path: str | Path) -> bool:
    """Whether a file holds weights other than a Lightning checkpoint of ours."""
    content = read_file(Path(path))
    return not ({"cmid", "state_dict"} <= content.keys())


def read_published(
    path: str | Path, *, architecture: str | None = None, img_size: int | None = None
) -> tuple[MaskedEncoder, dict[str, Any]]:
    """Build the encoder that a published checkpoint holds.

    Every weight of the encoder must be found: nothing is loaded by halves.

    Args:
        path: a pickled dictionary, read with ``weights_only=True``, or a safetensors file.
        architecture: timm's name; default: by the shapes of the weights.
        img_size: pixels per side; default: by the position embedding or the window.

    Returns:
        The encoder, and where it comes from: ``source``, ``entry``, ``prefix``, ``layout``, number
        of weights ``used``, and ``dropped``, the number of those of each part that no encoder has.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated, unsafe to read, of an unknown layout (names the first keys), or
            weights missing or left over.
    """
    path = Path(path)
    entry, stored = _find_weights(read_file(path), path)
    prefix, layout, weights = _find_encoder(stored, path)
    dropped = Counter(name.split(".")[0] for name in stored if not name.startswith(prefix))
    used, derived = Weights(), Weights()
    for name, tensor in LAYOUTS[layout](weights).items():
        if _HEADS.match(name):
            dropped[name.split(".")[0]] += 1
        elif name.endswith(_DERIVED):
            derived[name] = tensor
        else:
            used[name] = tensor
    found, args = find_architecture(used, by_shape=architecture is None)
    sizes = {} if img_size is None else {"img_size": img_size}
    encoder = MaskedEncoder(architecture or found, **(args | sizes))
    _load(encoder, used, path)
    _check_derived(encoder, derived, path)
    return encoder, {
        "source": path.name,
        "entry": entry,
        "prefix": prefix,
        "layout": layout,
        "used": len(used),
        "dropped": dict(dropped),
    }


def describe(encoder: MaskedEncoder, provenance: Mapping[str, Any]) -> str:
    """What was used of a published checkpoint, and what was left."""
    dropped = ", ".join(f"{part} ({count})" for part, count in provenance["dropped"].items())
    return (
        f"{provenance['source']}: {encoder.name} at {encoder.img_size} pixels, layout"
        f" {provenance['layout']!r}, {provenance['used']} weights used;"
        f" not part of an encoder: {dropped or 'none'}"
    )


def standardisation(
    provenance: Mapping[str, Any],
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> dict[str, Sequence[float]]:
    """Mean and std that a published encoder expects: MillionAID's for CMID, else ImageNet's."""
    of_cmid = provenance["prefix"].startswith("online_encoder.")
    default = (MILLION_AID.mean, MILLION_AID.std)
    if not of_cmid:
        default = (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    return {"mean": mean or default[0], "std": std or default[1]}


def read_file(path: Path) -> dict[str, Any]:
    """Content of a checkpoint file, without running any code in it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated, or it holds more than weights and plain values.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # Research code likes to store its command line.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"{path} is no checkpoint, or holds objects that could run code: {reason}"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, SafetensorError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{path} is not a checkpoint, or is truncated: {reason}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a dictionary of weights")
    return dict(content)


def _find_weights(content: Mapping[str, Any], path: Path) -> tuple[str, Weights]:
    """The entry that holds the weights, and its tensors."""
    for entry in _ENTRIES:
        inner = content.get(entry)
        if isinstance(inner, Mapping) and any(isinstance(v, Tensor) for v in inner.values()):
            return entry, {k: v for k, v in inner.items() if isinstance(v, Tensor)}
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)}
    if not tensors:
        first = ", ".join(map(str, list(content)[:5]))
        raise ValueError(f"{path} holds no weights; its entries are {first}")
    return "", tensors


def _find_encoder(stored: Weights, path: Path) -> tuple[str, str, Weights]:
    for prefix in _PREFIXES:
        weights = {k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)}
        layout = find_layout(weights)
        if layout is not None:
            return prefix, layout, weights
    first = ", ".join(list(stored)[:5])
    raise ValueError(f"{path} has no layout that we know; its first weights are {first}")


def _load(encoder: MaskedEncoder, weights: Weights, path: Path) -> None:
    expected = encoder.backbone.state_dict()
    counters = {n for n in expected if n.endswith("num_batches_tracked")}
    missing = [n for n in expected if n not in weights and n not in counters]
    unknown = [n for n in weights if n not in expected]
    if missing or unknown:
        fault, names = ("lacks", missing) if missing else ("has unknown", unknown)
        raise ValueError(
            f"{path} {fault} {len(names)} weights of {encoder.name}, first {', '.join(names[:5])}"
        )
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape:
            raise ValueError(
                f"{path}: {name} is {tuple(tensor.shape)}, {encoder.name} at"
                f" {encoder.img_size} pixels has {tuple(expected[name].shape)}; set architecture"
                " or img_size"
            )
    encoder.backbone.load_state_dict({n: weights.get(n, expected[n]) for n in expected})
    encoder.eval()


def _check_derived(encoder: MaskedEncoder, derived: Weights, path: Path) -> None:
    """Positions must be counted as timm counts them, or the position tables mean something else."""
    ours = dict(encoder.backbone.named_buffers())
    for name, tensor in derived.items():
        if name.endswith("relative_position_index") and name in ours:
            same = tensor.shape == ours[name].shape and bool((tensor == ours[name]).all())
            if not same:
                raise ValueError(f"{path}: {name} counts positions in another order than timm")
