"""Before training: is every pretrained weight where it belongs, every anchor where it is meant?

OpenMMLab loads ``init_cfg=dict(type="Pretrained", ...)`` without insisting on anything: with a
wrong prefix, other names or other shapes a network keeps its random weights, and a line of the log
says so. Here that is an error. (`CMIDBackbone` insists by itself.)
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule, PretrainedInit
from mmengine.runner.checkpoint import CheckpointLoader, get_torch_safe_globals
from torch import Tensor, nn

from benchmarks.openmmlab.backbone import CMIDBackbone
from cmid.checkpoints import open_weights

# What a file need not hold: norms of stage outputs, which classifiers do not have, a counter that
# nothing reads, and tables that the architecture fixes.
_OPTIONAL = re.compile(r"norm\d\.(weight|bias)$|.*(num_batches_tracked|relative_position_index)$")

_PRETRAINED = ("Pretrained", PretrainedInit)
_REMEDY = (
    "compare prefix and arguments with what tools/export.py --format prints"
    " (check_pretrained=False starts the rest new)"
)

# mmengine's checkpoints keep the history of the log in numpy arrays, whose types torch must know to
# read them with ``weights_only=True``; mmengine would fall back to unsafe reading.
torch.serialization.add_safe_globals(
    [type(np.dtype(name)) for name in ("float32", "float64", "int32", "int64", "bool")]
)


@CheckpointLoader.register_scheme(prefixes=r"(?!.*://).*\.safetensors$")
def load_from_safetensors(filename: str, map_location: Any = None) -> dict[str, Tensor]:
    """Read a safetensors file wherever mmengine reads checkpoints, which knows none.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is damaged.
    """
    weights = open_weights(Path(filename).expanduser())
    return {name: tensor.to(map_location or "cpu") for name, tensor in weights.items()}


def check_pretrained(model: nn.Module) -> list[str]:
    """Make sure that pretrained parts of a model find all of their weights.

    A copy of each part is initialised by its own ``init_weights``, so that every way in which
    OpenMMLab's networks read a checkpoint (prefixes, resized tables) counts as it is.

    Returns:
        A line for each part, which is also logged: how many weights of its children were found,
        what starts new, what the file holds besides.

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: a weight is missing or of another shape.
    """
    lines = [_check(name, module, path) for name, module, path in _pretrained(model)]
    for line in lines:
        print_log(line, logger="current")
    return lines


def check_checkpoint(model: nn.Module, path: Path) -> None:
    """Make sure that a checkpoint is of this very model: mmengine takes what fits of any.

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: it is none; or weights are missing, of another shape, or left over.
    """
    while isinstance(inner := getattr(model, "module", None), nn.Module):
        model = inner  # of several processes, of augmented tests
    # With the weights lies the history of the log, in a class of mmengine's.
    with torch.serialization.safe_globals(get_torch_safe_globals()):
        content = open_weights(path)
    stored = content.get("state_dict", content)
    given = {key: value.shape for key, value in stored.items() if isinstance(value, Tensor)}
    expected = {key: value.shape for key, value in model.state_dict().items()}
    faults = {
        "lacks": expected.keys() - given.keys(),
        "has in another shape": {
            key for key in expected.keys() & given.keys() if expected[key] != given[key]
        },
        "holds, besides those of the model,": given.keys() - expected.keys(),
    }
    for fault, keys in faults.items():
        names = sorted(key for key in keys if not _OPTIONAL.match(key))
        if names:
            raise ValueError(
                f"{path} is of another model: it {fault} {len(names)} weights, first {names[0]};"
                " give the configuration, --backbone and --cfg_options that it was trained with"
            )


def check_strides(model: nn.Module) -> None:
    """Make sure that a detector's anchors and regions lie where its backbone's maps have cells.

    They are laid out by strides of their own, which nothing compares with the maps'.

    Raises:
        ValueError: a `CMIDBackbone` of other strides.
    """
    model = getattr(model, "module", model)  # of several processes, of augmented tests
    backbone: Any = getattr(model, "backbone", None)
    if not isinstance(backbone, CMIDBackbone):
        return
    first = getattr(getattr(model, "neck", None), "start_level", 0)
    given = backbone.strides[first:]
    for module in model.modules():
        anchors = getattr(getattr(module, "prior_generator", None), "strides", ())
        laid = [each[0] if isinstance(each, tuple) else each for each in anchors]
        for found in (laid, list(getattr(module, "featmap_strides", ()))):
            if any(a != b for a, b in zip(found, given, strict=False)):
                raise ValueError(
                    f"{type(module).__name__} is laid out for strides {found}, the backbone's maps"
                    f" have {list(given)}: leave model.backbone.output_stride at 32, or set the"
                    " strides of anchor_generator and featmap_strides as well"
                )


def _pretrained(model: nn.Module) -> Iterator[tuple[str, BaseModule, str]]:
    for name, module in model.named_modules():
        settings = getattr(module, "init_cfg", None)
        for setting in settings if isinstance(settings, list) else [settings]:
            if isinstance(setting, Mapping) and setting.get("type") in _PRETRAINED:
                yield name or type(module).__name__, module, setting["checkpoint"]


def _check(name: str, module: BaseModule, checkpoint: str) -> str:
    kind = type(module).__name__
    given = _given(name, module, checkpoint)
    expected = {key: tensor.shape for key, tensor in module.state_dict().items()}
    found = [key for key, shape in expected.items() if given.get(key) == shape]
    lost = [key for key in expected if key not in found]
    required = [key for key in lost if not _OPTIONAL.match(key)]
    if required:
        shapes = [key for key in required if key in given]
        reason = f"{len(shapes)} of another shape" if shapes else "no such names"
        raise ValueError(
            f"{name}: {checkpoint} lacks {len(required)} of {len(expected)} weights of {kind}"
            f" ({reason}), first {', '.join((shapes or required)[:3])}; {_REMEDY}"
        )
    parts = Counter(key.partition(".")[0] for key in found)
    fresh = sorted({key.rpartition(".")[0] for key in lost if key.startswith("norm")})
    unused = Counter(key.partition(".")[0] for key in given if key not in expected)
    line = f"{name}: {len(found)} of {len(expected)} tensors of {kind} loaded from {checkpoint}: "
    line += ", ".join(f"{part} {count}" for part, count in parts.items())
    if fresh:
        line += f"; new: {', '.join(fresh)}"
    if unused:
        line += f"; not used: {', '.join(f'{part} {count}' for part, count in unused.items())}"
    return line


def _given(name: str, module: BaseModule, checkpoint: str) -> dict[str, torch.Size]:
    """Names and shapes of what reaches a copy of the module when it is initialised."""
    twin = copy.deepcopy(module)
    given: dict[str, torch.Size] = {}

    def record(module: nn.Module, state: Mapping[str, Tensor], prefix: str, *rest: Any) -> None:
        given.update({key: tensor.shape for key, tensor in state.items()})

    twin.register_load_state_dict_pre_hook(record)
    twin._dump_init_info = lambda: None  # the model's own initialisation will write it
    try:
        with torch.random.fork_rng(devices=[]):
            twin.init_weights()
    except FileNotFoundError:
        raise
    except (AssertionError, IndexError, KeyError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"{name}: {type(module).__name__} cannot read {checkpoint}: {reason}; {_REMEDY}"
        ) from error
    return given
