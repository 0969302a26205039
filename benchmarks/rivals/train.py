"""Pretrain with a rival method on the data, views and schedule of a CMID configuration.

    python -m benchmarks.rivals.train METHOD --config configs/pretrain/NAME.yaml [--FIELD VALUE ...]

METHOD is simclr, mocov2, byol or dino; the fields are those of ``tools/pretrain.py``. What belongs
to CMID alone (masks, loss weights, matches) has no effect.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from cmid.boundary import error_boundary
from cmid.console import quieten
from cmid.launch import MEMORY

METHODS = ("simclr", "mocov2", "byol", "dino")


def train(method: str, args: list[str]) -> Path:
    """Train and export; returns the exported folder."""
    from benchmarks.rivals.methods import Rival
    from cmid.callbacks import SkippedImages, TrainingProgress
    from cmid.command import PretrainCLI
    from cmid.export import to_timm

    cli = PretrainCLI(args)
    settings, model, data = cli.config["model"], cli.model, cli.datamodule
    rival = Rival(
        method,
        encoder=model.student.encoder,  # CMID would start from the same weights
        views=model.views,
        temperature=settings["temperature"],
        queue_size=settings["queue_size"],
        prototypes=settings["num_prototypes"],
        momentum=model.teacher_parameters.momentum,
        optimizer=model.optimizer_parameters,
        memory_format=model.memory_format,
    )
    kept = (TrainingProgress, SkippedImages)
    cli.trainer.callbacks = [c for c in cli.trainer.callbacks if isinstance(c, kept)]  # type: ignore[attr-defined]
    cli.trainer.fit(rival, data)
    folder = cli.run_dir / "backbone"
    to_timm(
        rival.method.encoder,
        folder,
        statistics=model.statistics,
        provenance=rival.provenance(),
        overwrite=True,
    )
    print(f"backbone: {folder}")
    return folder


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer ``--help``, or train."""
    args = [*(sys.argv[1:] if arguments is None else arguments)]
    if "-h" in args or "--help" in args:
        print(f"{__doc__}\n--traceback shows where an error comes from.")
        return
    if not args or args[0] not in METHODS:
        raise SystemExit(f"{__doc__}\nerror: give one of {', '.join(METHODS)} first")
    fields = [arg for arg in args[1:] if arg != "--traceback"]
    with error_boundary(traceback="--traceback" in args, memory=MEMORY):
        quieten()
        train(args[0], fields)


if __name__ == "__main__":
    main()
