"""Scores of several backbones on the same test images: tables, files, who leads by how much."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.numpy import save_file

from cmid.evaluation.intervals import Interval
from cmid.evaluation.score import Score
from cmid.evaluation.tasks import Found, plain
from cmid.files import whole_file, write_json
from cmid.reporting import Row, Table

_COLUMNS = 5  # measures beside each other
_TOLD = ("effective rank", "relative std")  # numbers without intervals that are printed, too


@dataclass(frozen=True)
class Difference:
    """By how much one backbone is ahead of another in a measure, on the same images.

    Attributes:
        interval: of 95 %, paired.
    """

    measure: str
    first: str
    second: str
    value: float
    interval: Interval

    @property
    def tie(self) -> bool:
        """Whether the images do not tell who is ahead."""
        low, high = self.interval
        return not (low > 0 or high < 0)

    def __str__(self) -> str:
        low, high = self.interval
        if math.isnan(low):
            return "tie"
        return f"{'tie' if self.tie else f'{self.value:+.3f}'} [{low:.3f}, {high:.3f}]"


@dataclass
class Results:
    """What backbones reached.

    Attributes:
        about: what they were measured on; ``test_digest`` tells the same test images.
        found: by backbone, what `Evaluation` found.
        left_out: by backbone and measure, why.
        differences: of each backbone from each one before, in all measures of both.
    """

    about: dict[str, Any]
    found: dict[str, Found] = field(default_factory=dict)
    left_out: dict[str, dict[str, str]] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)

    def add(self, name: str, found: Found) -> None:
        """Take what a backbone reached, and compare it with those before."""
        for other, known in self.found.items():
            for measure, score in known.items():
                mine = found.get(measure)
                if isinstance(score, Score) and isinstance(mine, Score):
                    lead = score.lead(mine)
                    self.differences.append(Difference(measure, other, name, *lead))
        self.found[name] = found

    def write(self, out: str | Path) -> None:
        """Write ``out`` (JSON), the same as .csv, and the results of each image as .safetensors."""
        out = Path(out)
        with whole_file(out.with_suffix(".csv")) as partial, partial.open("w", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(("backbone", "measure", "value", "low", "high"))
            for name, measure, score in self._scores():
                lines.writerow((name, measure, score.value, *map(_known, score.interval)))
        rows = {f"{name}\n{measure}": score.rows for name, measure, score in self._scores()}
        kinds = {f"{name}\n{measure}": score.kind for name, measure, score in self._scores()}
        with whole_file(out.with_suffix(".safetensors")) as partial:
            save_file(rows, partial, metadata={"kinds": json.dumps(kinds)})
        intervals: dict[str, dict[str, Any]] = {name: {} for name in self.found}
        for name, measure, score in self._scores():
            intervals[name][measure] = [*map(_known, score.interval)]
        differences = [
            vars(each) | {"interval": [*map(_known, each.interval)], "tie": each.tie}
            for each in self.differences
        ]
        about = self.about | ({"left_out": self.left_out} if self.left_out else {})
        results = {name: plain(found) for name, found in self.found.items()}
        more = {"intervals": intervals, "differences": differences}
        write_json(out, {**about, "results": results, **more})

    def _scores(self) -> Iterable[tuple[str, str, Score]]:
        for name, found in self.found.items():
            for measure, score in found.items():
                if isinstance(score, Score):
                    yield name, measure, score

    def tables(self) -> list[Table]:
        """Scores with their intervals, those bold that none leads; then the differences."""
        measures = list(
            dict.fromkeys(
                measure
                for found in self.found.values()
                for measure, value in found.items()
                if isinstance(value, Score) or measure.endswith(_TOLD)
            )
        )
        tables = [
            self._table(measures[start : start + _COLUMNS])
            for start in range(0, len(measures), _COLUMNS)
        ]
        compared = {each.measure for each in self.differences}
        measures = [measure for measure in measures if measure in compared]
        pairs = dict.fromkeys((each.first, each.second) for each in self.differences)
        for start in range(0, len(measures) * bool(pairs), _COLUMNS):
            shown = measures[start : start + _COLUMNS]
            rows = []
            for pair in pairs:
                cells = {
                    each.measure: str(each)
                    for each in self.differences
                    if (each.first, each.second) == pair
                }
                rows.append(Row(" - ".join(pair), tuple(cells.get(name, "") for name in shown)))
            tables.append(Table(("difference", *shown), tuple(rows)))
        return tables

    def _table(self, measures: list[str]) -> Table:
        leading = {measure: self._leading(measure) for measure in measures}
        rows = []
        for name, found in self.found.items():
            scores = [found.get(measure) for measure in measures]
            cells = tuple("" if each is None else shown(each) for each in scores)
            best = frozenset(
                k
                for k, measure in enumerate(measures)
                if name in leading[measure] and not measure.endswith(_TOLD)
            )
            rows.append(Row(name, cells, best if len(self.found) > 1 else frozenset()))
        return Table(("backbone", *measures), tuple(rows))

    def _leading(self, measure: str) -> set[str]:
        """Backbones that no other is ahead of."""
        sign = -1 if "RMSE" in measure else 1  # an error leads by being less
        behind = {
            each.second if sign * each.value > 0 else each.first
            for each in self.differences
            if each.measure == measure and not each.tie
        }
        return {name for name, found in self.found.items() if measure in found} - behind


def shown(score: Score | float) -> str:
    """A score and its interval, or a number without one."""
    if not isinstance(score, Score):
        return f"{score:.3f}"
    low, high = score.interval
    return f"{score.value:.3f}" + ("" if math.isnan(low) else f" [{low:.3f}, {high:.3f}]")


def read_results(path: str | Path) -> Results:
    """What `Results.write` wrote.

    Raises:
        FileNotFoundError: the file, or the one of single images beside it, is missing.
        ValueError: it is no such file.
    """
    path = Path(path)
    images = path.with_suffix(".safetensors")
    for each in (path, images):
        if not each.is_file():
            raise FileNotFoundError(f"{each} does not exist: give a file of --out, with all beside")
    content = json.loads(path.read_text(encoding="utf-8"))
    numbers: Mapping[str, Mapping[str, float]] = content.pop("results", {})
    for name in ("intervals", "differences", "left_out"):
        content.pop(name, None)
    with safe_open(images, "numpy") as stored:
        kinds = json.loads((stored.metadata() or {}).get("kinds", "{}"))
        if not kinds or "test_digest" not in content:
            raise ValueError(f"{path} was not written by this command: give a file of --out")
        scores = {key: Score(kind, stored.get_tensor(key)) for key, kind in kinds.items()}
    results = Results(content)
    for name, values in numbers.items():
        found: Found = {k: scores.get(f"{name}\n{k}", value) for k, value in values.items()}
        results.add(name, found)
    return results


def _known(value: float) -> float | None:
    """JSON has no nan."""
    return None if math.isnan(value) else value
