"""Evaluations of image-text models: on one data set, or on those of a suite."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from benchmarks.vision_language.outcome import EvaluationConfig, ModelsConfig
from benchmarks.vision_language.suite import run_evaluations
from benchmarks.vision_language.tasks import Evaluation
from cmid.models.dual_encoder import ImageTextModel
from cmid.vision_language.clip.storage import load_clip


def evaluate_models(
    evaluations: Sequence[Evaluation],
    models: ModelsConfig,
    options: EvaluationConfig,
    *,
    title: str,
    command: str,
    skip_missing: bool = False,
) -> None:
    """Evaluate, print the tables, write the report.

    Args:
        title, command: heading of the report, and the command that made it.
        skip_missing: leave out evaluations whose data is missing, and say so.

    Raises:
        ImportError, OSError, RuntimeError, ValueError: with a one-line message.
    """
    device = _device(models.device)

    def load(spec: str) -> ImageTextModel:
        torch.manual_seed(0)  # of untrained models
        return load_clip(spec, dense_mode=models.dense_mode).to(device)

    tables = run_evaluations(
        evaluations,
        models.model,
        load=load,
        options=options,
        skip_missing=skip_missing,
        title=f"Image-text models: {title}",
        command=command,
    )
    print(tables)
    if options.out is not None:
        print(f"\nreport: {options.out / 'report.html'}")


def _device(name: str | None) -> torch.device:
    """The device of a name, by default a GPU where there is one; checked before any work.

    Raises:
        ValueError: no such device here.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"--device {name}: there is no such device here ({reason})") from error
    return device
