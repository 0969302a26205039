"""All evaluations for several models, and one report."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.vision_language.outcome import EvaluationConfig, Outcome, file_name
from benchmarks.vision_language.report import make_section
from benchmarks.vision_language.tasks import Evaluation
from cmid.data.source import UnreadableImageError
from cmid.files import write_json
from cmid.models.dual_encoder import ImageTextModel
from cmid.reporting import Report, Section, markdown_table, write_report


def run_evaluations(
    evaluations: Sequence[Evaluation],
    models: Sequence[str],
    *,
    load: Callable[[str], ImageTextModel],
    options: EvaluationConfig = EvaluationConfig(),
    skip_missing: bool = False,
    title: str = "Evaluation of image-text models",
    command: str = "",
) -> str:
    """Score every model, print what is left out, write the report to ``options.out``.

    An evaluation that fails is left out with a line; the others' scores are kept.

    Args:
        models: names for ``load`` and for the report.
        load: gives a model on its device.
        skip_missing: leave out evaluations whose data is missing, and say so.
        command: how the report was made.

    Returns:
        The main tables as Markdown.

    Raises:
        FileNotFoundError: data is missing, and ``skip_missing`` is off, or nothing is left.
        Exception: the first failure, where all fail; the first that nobody expects, once the
            report of the others is written.
        NotADirectoryError: ``options.out`` is a file.
        ValueError: models whose names do not differ in letters and digits.
    """
    if len({file_name(name) for name in models}) < len(models):
        raise ValueError(f"two of the models {', '.join(models)} have one name: rename a folder")
    if options.out is not None and options.out.exists() and not options.out.is_dir():
        raise NotADirectoryError(f"the report's folder {options.out} is a file: name another")
    chosen, skipped = [], []
    for evaluation in evaluations:
        missing = [path for path in evaluation.needs() if not Path(path).exists()]
        if missing and not skip_missing:
            raise FileNotFoundError(f"{evaluation.task}: {missing[0]} does not exist")
        if missing:
            skipped.append(f"{evaluation.task}: {missing[0]} does not exist")
            print(f"LEFT OUT: {skipped[-1]}", file=sys.stderr)
        else:
            chosen.append(evaluation)
    if not chosen:
        raise FileNotFoundError(f"the data of all {len(skipped)} evaluations is missing")
    runs = _run(chosen, models, load, options)
    skipped += runs.failed
    out = options.out or Path()
    sections = [make_section(each, found, out=out) for each, found in runs.outcomes]
    if options.out is not None and sections:
        total = f"{len(sections) + len(skipped)} evaluations"
        write_report(options.out, Report(title, command, sections, runs.models, skipped, total))
        write_json(options.out / "results.json", _plain(runs.outcomes, skipped))
    if runs.error is not None:
        if sections:
            print(_summary(sections, skipped))
        raise runs.error
    return _summary(sections, skipped)


@dataclass
class _Runs:
    """What came out of all evaluations of all models.

    Attributes:
        outcomes: evaluations with the outcomes of models, where there is one.
        models: a line about each that was loaded.
        failed: a line about each evaluation that failed.
        error: the first failure that nobody expects, or the first at all where all have failed.
    """

    outcomes: list[tuple[Evaluation, dict[str, Outcome]]]
    models: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    error: Exception | None = None

    def note(self, what: str, error: Exception) -> None:
        """Remember a failure, and say so."""
        line = f"{what}: {str(error).strip().partition(chr(10))[0] or type(error).__name__}"
        self.failed.append(line)
        print(f"LEFT OUT: {line}", file=sys.stderr)
        if not isinstance(error, (ImportError, OSError, ValueError, UnreadableImageError)):
            self.error = self.error or error


def _run(
    evaluations: Sequence[Evaluation],
    models: Sequence[str],
    load: Callable[[str], ImageTextModel],
    options: EvaluationConfig,
) -> _Runs:
    """Run all evaluations of all models; one that fails costs no other its scores."""
    runs = _Runs([(evaluation, {}) for evaluation in evaluations])
    first: Exception | None = None
    for name in models:
        try:
            model = load(name)
        except Exception as error:
            first = first or error
            runs.note(name, error)
            continue
        runs.models.append(f"{name}: digest {model.digest[:12]}, input {model.size} pixels")
        for evaluation, found in runs.outcomes:
            try:
                found[name] = evaluation.run(model, name, options)
            except Exception as error:
                first = first or error
                runs.note(f"{evaluation.task}, {evaluation.data}, {name}", error)
    runs.outcomes = [(evaluation, found) for evaluation, found in runs.outcomes if found]
    if not runs.outcomes:
        runs.error = first
    return runs


def _summary(sections: Sequence[Section], skipped: Sequence[str]) -> str:
    parts = [f"{section.title}\n\n{markdown_table(section.tables[0])}" for section in sections]
    if skipped:
        parts.append(f"left out: {len(skipped)} of {len(sections) + len(skipped)} evaluations")
    return "\n\n".join(parts)


def _plain(
    outcomes: Sequence[tuple[Evaluation, dict[str, Outcome]]], skipped: Sequence[str]
) -> dict[str, Any]:
    entries = []
    for evaluation, found in outcomes:
        scores = {
            name: {"measures": o.measures, "per_class": _without_nan(o), "facts": o.facts}
            for name, o in found.items()
        }
        about = {"settings": asdict(evaluation), "chance": next(iter(found.values())).chance}
        entries.append(
            {"task": evaluation.task, "data": evaluation.data, **about, "models": scores}
        )
    return {"evaluations": entries, "left_out": [*skipped]}


def _without_nan(outcome: Outcome) -> dict[str, float | None]:
    """Scores by class; JSON knows no nan."""
    scores = {} if outcome.per_class is None else outcome.per_class[1]
    return {name: None if math.isnan(value) else value for name, value in scores.items()}
