"""What a checkpoint was made with, compared with what it shall go on with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import lightning as L

from cmid.checkpoints.runs import open_checkpoint

RECORD = "run"  # the entry of a checkpoint
# What may differ without being another experiment.
_INDIFFERENT = (
    "data.num_workers",
    "data.on_error",
    "data.knn_",
    "data.zero_shot_",
    "data.seed",  # follows seed_everything
    "model.seed",
    "model.compile",
    "model.grad_checkpointing",
    "model.channels_last",
)
_TRAINER = (
    "trainer.max_epochs",
    "trainer.max_steps",
    "trainer.accumulate_grad_batches",
    "trainer.precision",
    "trainer.gradient_clip_val",
    "trainer.gradient_clip_algorithm",
    "trainer.limit_train_batches",
)
# Options of a model that no weight's shape depends on.
_SHAPELESS = ("model.optimizer.", "model.weights.", "model.teacher.", "model.colours.")
# Differences that leave every shape as it is, and make the state of the checkpoint meaningless.
_MEANING = ("model.classes", "model.optimizer.name")
# What the checkpoints of a method say about it, by the option that sets it.
_OPTION_OF = {
    "model_name": "model.backbone",
    "in_chans": "model.in_chans",
    "img_size": "model.img_size",
    "mask_mode": "model.mask_mode",
    "model_kwargs": "model.backbone_args",
    "agreement.queue.keys": "model.queue_size",
    "local_loss.center": "model.num_prototypes",
}
_TAKEN_FROM_DATA = ("in_chans", "img_size", "mean", "std")
_UNNAMED = {"version", "stem", "global_step", "epoch", "mean", "std", "low", "high", "method"}
_UNNAMED |= {"encoders", "exported"}


@dataclass(frozen=True)
class Difference:
    """An option with another value than in the checkpoint."""

    option: str
    here: Any
    checkpoint: Any

    def __str__(self) -> str:
        return f"{self.option} is {_short(self.here)}, the checkpoint has {_short(self.checkpoint)}"


def experiment(config: Mapping[str, Any], module: L.LightningModule) -> dict[str, Any]:
    """What makes an experiment, by option, as plain values that a checkpoint may hold.

    Args:
        config: configuration of the command, nested, plain values.
        module: module as built; it knows what it took from the data.
    """
    found = dict(_flat("", {key: config.get(key) for key in ("model", "data", "trainer")}))
    about = _description(module)
    taken = {name: about[name] for name in _TAKEN_FROM_DATA if name in about}
    if hasattr(module, "classes"):
        taken["classes"] = module.classes
    found |= {f"model.{name}": _plain(value) for name, value in taken.items()}
    found["seed_everything"] = config.get("seed_everything")
    return {
        option: value
        for option, value in found.items()
        if not option.startswith(_INDIFFERENT)
        and (not option.startswith("trainer.") or option in _TRAINER)
    }


def differences(here: Mapping[str, Any], checkpoint: Mapping[str, Any]) -> list[Difference]:
    """Options that both know, with different values."""
    return [
        Difference(option, here[option], checkpoint[option])
        for option in here
        if option in checkpoint and here[option] != checkpoint[option]
    ]


def check_resumable(
    path: Path, module: L.LightningModule, here: Mapping[str, Any], *, sharded: bool = False
) -> list[Difference]:
    """Refuse a checkpoint that cannot go on in a module; return what else is different.

    Args:
        path: path of the checkpoint.
        module: module as built.
        here: `experiment` of this run.
        sharded: this run splits its parameters over processes (fsdp).

    Raises:
        ValueError: no checkpoint of a run, or one of another command, model or kind of strategy; a
            line for each option that differs.
    """
    checkpoint = open_checkpoint(path)
    if "loops" not in checkpoint or not checkpoint.get("optimizer_states"):
        raise ValueError(
            f"{path} holds weights only, not the state of a run: a run cannot go on from it"
        )
    ours, theirs = _description(module), checkpoint.get("cmid") or {}
    if ours.get("method") != theirs.get("method"):
        raise ValueError(
            f"{path} was made by {_method(theirs)}, this command trains {_method(ours)}: give a"
            " checkpoint of this command, or start without --ckpt_path"
        )
    if sharded != _of_sharded_run(checkpoint["optimizer_states"][0]):
        strategy, other = ("fsdp", "ddp or auto") if sharded else ("ddp or auto", "fsdp")
        raise ValueError(
            f"{path} does not fit: trainer.strategy is {strategy}, the checkpoint is of {other},"
            f" which keeps the optimizer's state in another order: go on with {other}, or start"
            " without --ckpt_path"
        )
    changed = differences(here, (checkpoint.get(RECORD) or {}).get("experiment") or {})
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    stored = {name: tuple(tensor.shape) for name, tensor in checkpoint["state_dict"].items()}
    reasons = [change for change in changed if change.option in _MEANING]
    if shapes != stored:
        shaped = [c for c in changed if c.option.startswith("model.") and c not in reasons]
        reasons += [c for c in shaped if not c.option.startswith(_SHAPELESS)]
        reasons = reasons or list(_guessed(ours, theirs, shapes, stored))
    reasons += _switched(ours, theirs)
    if reasons or shapes != stored:
        lines = list(map(str, reasons)) or [_tensors(shapes, stored)]
        raise ValueError(
            f"{path} does not fit (give its values, or start without --ckpt_path): "
            + ("\n  " if len(lines) > 1 else "")
            + "\n  ".join(lines)
        )
    return changed


def _of_sharded_run(state: Mapping[str, Any]) -> bool:
    """Whether an optimizer's state counts parameters as the model does, and not group by group."""
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    return numbers != list(range(len(numbers)))


def _switched(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[Difference]:
    """Losses that only one side has: the optimizer holds what they alone train."""
    if theirs.get("method") == "CMID":
        weights, stored = ours.get("weights") or {}, theirs.get("weights") or {}
        for change in differences(weights, stored):
            if not (change.here and change.checkpoint):
                yield Difference(f"model.weights.{change.option}", change.here, change.checkpoint)


def _guessed(
    ours: Mapping[str, Any],
    theirs: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    stored: Mapping[str, tuple[int, ...]],
) -> Iterator[Difference]:
    """What differs from a checkpoint that does not hold its configuration."""
    here, there = dict(_flat("", ours)), dict(_flat("", theirs))
    for change in differences(here, there):
        if change.option.partition(".")[0] not in _UNNAMED:
            option = _OPTION_OF.get(change.option, change.option)
            yield Difference(option, change.here, change.checkpoint)
    here_moco, there_moco = ("agreement.queue.keys" in found for found in (shapes, stored))
    if theirs.get("method") == "CMID" and here_moco != there_moco:
        names = {True: "moco", False: "byol"}
        yield Difference("model.agreement", names[here_moco], names[there_moco])
    for name in ("agreement.queue.keys", "local_loss.center"):
        if name in shapes and name in stored and shapes[name] != stored[name]:
            yield Difference(_OPTION_OF[name], shapes[name][1], stored[name][1])


def _tensors(shapes: Mapping[str, tuple[int, ...]], stored: Mapping[str, tuple[int, ...]]) -> str:
    """The misfit of a checkpoint that says nothing about itself."""
    names = {**shapes, **stored}
    misfits = [name for name in names if shapes.get(name) != stored.get(name)]
    name = misfits[0]
    return (
        f"{len(misfits)} of {len(names)} tensors have another shape or are on one side only, the"
        f" first is {name}: {shapes.get(name, 'absent')} here, {stored.get(name, 'absent')} there"
    )


def _description(module: L.LightningModule) -> dict[str, Any]:
    """What checkpoints of a module say about it."""
    checkpoint: dict[str, Any] = {}
    module.on_save_checkpoint(checkpoint)
    return checkpoint.get("cmid") or {}


def _method(description: Mapping[str, Any]) -> str:
    return str(description.get("method", "fine-tuning"))


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, entry in value.items():
            yield from _flat(f"{name}.{key}" if name else str(key), entry)
    else:
        yield name, _plain(value)


def _plain(value: Any) -> Any:
    """The value as text, number, list or dictionary; no others may stand in a checkpoint."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
