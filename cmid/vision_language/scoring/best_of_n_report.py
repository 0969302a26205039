"""What picking the best of several answers has gained, as a table, a picture and a report."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cmid.data.writing import write_image
from cmid.files import write_text
from cmid.reporting import Report, Row, Section, Table, markdown_table, write_report
from cmid.vision_language.scoring.best_of_n import SAMPLES, Curve, accuracy_curve
from cmid.vision_language.scoring.best_of_n import Row as Answered
from cmid.vision_language.scoring.best_of_n_config import BestOfNConfig
from cmid.vision_language.scoring.questions import Question
from cmid.vision_language.scoring.rewards import short
from cmid.visualization.curves import line_figure
from cmid.visualization.saving import save_figure

_RESULTS, _PICTURE = "results.json", "accuracy.png"


def report_best_of_n(config: BestOfNConfig, rows: Sequence[Answered], *, command: str) -> None:
    """Print accuracy against N, and write report, picture and numbers into ``out``."""
    curve = accuracy_curve(rows)
    known = sum(row["right"] is not None for row in rows)
    kinds = Counter(row["type"] for row in rows)
    facts = [
        f"{len(rows)} questions ({', '.join(f'{n} {kind}' for kind, n in kinds.items())}), {known}"
        " with a known answer",
        f"answers: {config.model}, temperature {config.temperature:g}, top-p {config.top_p:g},"
        f" seed {config.seed}",
        f"scorer: {config.scorer or 'none'}; CLIP: {config.clip or 'none'}",
        "mean over random choices of N of the answers; ± is the standard error over questions",
    ]
    tables: list[Table] = []
    pictures: list[tuple[str, str]] = []
    if curve:
        tables = [_table(curve)]
        pictures = [("accuracy against N", _PICTURE)]
        title = f"best of N: {known} questions"
        figure = line_figure(curve, xlabel="N", ylabel="accuracy", title=title)
        save_figure(figure, config.out / _PICTURE)
        print(markdown_table(tables[0], aligned=True))
    write_text(config.out / _RESULTS, json.dumps({"accuracy": curve, "facts": facts}, indent=2))
    section = Section("Accuracy against N", facts, tables, pictures)
    write_report(config.out, Report("Best of N", command, [section]))
    print(f"answers and picks: {config.out / SAMPLES}; report: {config.out / 'report.html'}")


def write_preferences(
    config: BestOfNConfig, questions: Sequence[Question], rows: Sequence[Answered]
) -> Path:
    """Write true answers and wrong samples in the published form, for `PreferenceFiles`.

    Images that are not files, as of generated scenes, are written beside it. Questions that no
    sample answers wrongly, of boxes, or without a known answer say nothing here.
    """
    path = config.out / "preferences.json"
    entries = []
    for question, row in zip(questions, rows, strict=True):
        if row["right"] is None or question.kind != "exact":
            continue
        samples = zip(row["samples"], row["right"], strict=True)
        wrong = dict.fromkeys(short(sample) for sample, right in samples if not right)
        wrong.pop("", None)
        if not wrong:
            continue
        if isinstance(question.image, Path):
            image = str(question.image.resolve())
        else:
            image = f"images/{question.name.replace('/', '-').replace(':', '-')}.png"
            write_image(config.out / image, question.pixels().permute(1, 2, 0).numpy())
        texts = {"chosen": question.answer, "rejected": [*wrong]}
        entries.append({"image_path": image, "question": question.text, **texts})
    write_text(path, json.dumps(entries, indent=1, ensure_ascii=False) + "\n")
    print(f"{len(entries)} preferences: {path}")
    return path


def _table(curve: Curve) -> Table:
    names = [*curve]
    rows = []
    for points in zip(*curve.values(), strict=True):
        cells = tuple(f"{100 * accuracy:.1f} ± {100 * error:.1f}" for _, accuracy, error in points)
        picked = [round(p[1], 5) for name, p in zip(names, points, strict=True) if name != "oracle"]
        best = frozenset(k for k, value in enumerate(picked) if value == max(picked))
        rows.append(Row(str(points[0][0]), cells, best if len({*picked}) > 1 else frozenset()))
    return Table(("accuracy, %, at N", *names), tuple(rows))
