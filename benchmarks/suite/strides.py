"""Strides of the backbones' last maps: rows of a suite at the stride of pretraining, and others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.openmmlab.experiment import load_config, parse_options
from benchmarks.suite.tasks import Task
from cmid.checkpoints import identify
from cmid.models.intermediates import stages

USUAL = 32  # which all configurations are laid out for
AS_PRETRAINED = "as-pretrained"


def strides_of(words: Sequence[str], backbones: Sequence[str]) -> list[int]:
    """The strides that words stand for; ``as-pretrained`` for those of pretrained backbones.

    Raises:
        ValueError: a backbone cannot be laid out for one; names both.
        FileNotFoundError, ValueError: as `cmid.checkpoints.identify`.
    """
    own = [*_pretrained(backbones).values()] or [USUAL]
    found = [each for word in words for each in (own if word == AS_PRETRAINED else [int(word)])]
    found = list(dict.fromkeys(found))
    for stride in found:
        for name in backbones:
            if stride != USUAL:
                _check(name, stride)
    return found


def stride_options(task: Task, stride: int, options: Sequence[str] = ()) -> list[str]:
    """``key=value`` overrides with which a task's backbone has maps of a stride at the most.

    Anchors and regions of detectors lie on the cells of these maps; anchors keep their sizes.

    Args:
        options: further overrides.

    Raises:
        ValueError: ``options`` set the stride.
        FileNotFoundError, ValueError: as `benchmarks.openmmlab.experiment.load_config`.
    """
    if own := [option for option in options if ".output_stride=" in option]:
        raise ValueError(f"--cfg_options {own[0]}: give --strides, which lays out anchors, too")
    if stride == USUAL:
        return []
    config = load_config(task.config, options=parse_options([*task.options, *options]))
    found = []
    for key, part in _parts(config.model, "model"):
        if part.get("type") == "CMIDBackbone":
            found.append(f"{key}.output_stride={stride}")
        if key.endswith("anchor_generator"):
            sizes = part.get("base_sizes") or part.strides
            found.append(f"{key}.strides={_fitted(part.strides, stride)}")
            found.append(f"{key}.base_sizes={_listed(sizes)}")
        if "featmap_strides" in part:
            found.append(f"{key}.featmap_strides={_fitted(part.featmap_strides, stride)}")
    return found


def stride_facts(strides: Sequence[int], backbones: Sequence[str]) -> list[str]:
    """What a reader has to know: at which strides backbones were pretrained, and are laid out."""
    pretrained = _pretrained(backbones)
    told = ", ".join(f"{name} with stride {own}" for name, own in pretrained.items())
    if [*strides] != [USUAL]:
        return [
            "Stride: pixels per cell of the backbone's last map, in each row the same for all"
            " backbones, random weights included; anchors keep their sizes."
            + (f" Pretrained: {told}." if told else "")
        ]
    if all(own == USUAL for own in pretrained.values()):
        return []
    return [
        f"Pretrained: {told}. Here all are laid out for stride {USUAL}; --strides {AS_PRETRAINED}"
        f" {USUAL} compares."
    ]


def _pretrained(backbones: Sequence[str]) -> dict[str, int]:
    """The strides of pretraining, of all but random weights."""
    found = {name: identify(name) for name in backbones if not name.startswith("random:")}
    return {name: own.model_args.get("output_stride", USUAL) for name, own in found.items()}


def _check(name: str, stride: int) -> None:
    try:
        reached = stages(identify(name).skeleton(output_stride=stride))[-1].stride
    except ValueError as error:
        reason = f"{name} has no variable stride, which ResNets have: give --strides {USUAL}"
        raise ValueError(f"--strides {stride}: {reason}") from error
    if reached != stride:
        reason = f"the last map of {name} has stride {reached}: give --strides {USUAL}"
        raise ValueError(f"--strides {stride}: {reason}")


def _fitted(laid: Sequence[int], stride: int) -> str:
    """Strides of maps, coarser ones that a neck adds included, where the last of four has this."""
    return _listed(min(own, stride) if own <= USUAL else own * stride // USUAL for own in laid)


def _listed(numbers: Any) -> str:
    """As mmengine reads a list on the command line: without spaces."""
    return f"[{','.join(str(number) for number in numbers)}]"


def _parts(part: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Every dict below a part of a configuration, with its dotted key."""
    if isinstance(part, dict):
        yield key, part
    pairs = part.items() if isinstance(part, dict) else enumerate(part)
    for name, value in pairs:
        if isinstance(value, dict | list | tuple):
            yield from _parts(value, f"{key}.{name}")
