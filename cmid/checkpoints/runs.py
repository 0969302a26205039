"""Checkpoints of training runs, opened without running what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from cmid.checkpoints.stored import StoredEncoder
from cmid.checkpoints.strict import below
from cmid.checkpoints.weight_files import open_weights
from cmid.data.statistics import ChannelStatistics

# Where the encoders lie in checkpoints that do not say it themselves, and which one is exported.
_BEFORE = {
    "encoders": {"teacher": "teacher.module.encoder.", "student": "student.encoder."},
    "exported": "student",
}
# What an export says of an encoder in other places than where it comes from.
_ELSEWHERE = {"model_name", "in_chans", "img_size", "model_kwargs"}
_ELSEWHERE |= {"mean", "std", "low", "high", "kind", "encoders", "exported"}


@dataclass(frozen=True, kw_only=True)
class TrainedEncoder(StoredEncoder):
    """An encoder of a run of pretraining.

    Attributes:
        origin: the checkpoint's entry ``cmid``.
        state: all weights of the run, mapped from the file, by the names that training gave them.
        prefix: how the names of this encoder's begin, mask token included.
    """

    origin: Mapping[str, Any] = field(repr=False)
    state: Mapping[str, Tensor] = field(repr=False)
    prefix: str

    @classmethod
    def open(cls, path: str | Path, which: str | None = None) -> TrainedEncoder:
        """Open a checkpoint of a run; `within` says what is refused.

        Raises:
            FileNotFoundError: no such file.
        """
        return cls.within(open_checkpoint(Path(path)), path, which)

    @classmethod
    def within(
        cls, checkpoint: Mapping[str, Any], path: str | Path, which: str | None = None
    ) -> TrainedEncoder:
        """The encoder in what `open_checkpoint` opened.

        Args:
            which: role (``student``, ``teacher``); default the one that the method exports.

        Raises:
            ValueError: not a checkpoint of pretraining, or no such encoder.
        """
        if "model_name" not in checkpoint.get("cmid", {}):
            raise ValueError(f"{path} is not a checkpoint of pretraining: it has no entry 'cmid'")
        origin = _BEFORE | checkpoint["cmid"]
        which = which or str(origin["exported"])
        if which not in origin["encoders"]:
            roles = " or ".join(map(repr, origin["encoders"]))
            raise ValueError(f"which must be {roles}, got {which!r}")
        kept = {key: value for key, value in origin.items() if key not in _ELSEWHERE}
        return cls(
            source=f"{path} ({which})",
            architecture=origin["model_name"],
            model_args=origin["model_kwargs"] | {"in_chans": origin["in_chans"]},
            img_size=origin["img_size"],
            stem=origin.get("stem"),
            mask_mode=origin.get("mask_mode", "add"),
            provenance=kept | {"which": which},
            origin=origin,
            state=checkpoint["state_dict"],
            prefix=origin["encoders"][which],
        )

    @property
    def statistics(self) -> ChannelStatistics:
        return ChannelStatistics.from_mapping(self.origin)

    def weights(self) -> Mapping[str, Tensor]:
        return below(self.state, f"{self.prefix}backbone.")


def open_checkpoint(path: Path) -> dict[str, Any]:
    """Open a checkpoint; tensors are mapped, not read.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no checkpoint, or a truncated one.
    """
    checkpoint = open_weights(path)
    if not isinstance(checkpoint.get("state_dict"), Mapping):
        raise ValueError(f"{path} is not a checkpoint of a training run: it has no state_dict")
    return checkpoint
