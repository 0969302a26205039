"""From a labelled set to a file of conversations and a report on its balance."""

from __future__ import annotations

import json
import os
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from cmid.boxes import convex_overlap, is_convex, polygon_area
from cmid.files import write_text
from cmid.multimodal.boxes import BoxForm
from cmid.multimodal.conversation import IMAGE
from cmid.multimodal.instructions import reading
from cmid.multimodal.instructions.annotated import Annotated, Vocabulary
from cmid.multimodal.instructions.asking import TASKS, Asker
from cmid.multimodal.instructions.balancing import (
    Placed,
    answer_tables,
    balance,
    balance_table,
)
from cmid.multimodal.instructions.settings import LabelledConfig, WritingConfig
from cmid.reporting import Report, Section, Table, write_report
from cmid.vision_language.data.problems import Problems


@dataclass(frozen=True)
class Made:
    """What was made: images, conversations, questions, and the table of their balance."""

    images: int
    conversations: int
    questions: int
    table: Table
    report: Path


def make_instructions(labelled: LabelledConfig, writing: WritingConfig, *, command: str) -> Made:
    """Read, ask, balance, write.

    Raises:
        FileNotFoundError, ValueError: the set cannot be read, or nothing can be asked about it.
    """
    unknown = [task for task in writing.tasks if task not in TASKS]
    if unknown:
        raise ValueError(f"no task {unknown[0]!r}: some of {', '.join(TASKS)}")
    problems = Problems(labelled.data, labelled.on_error)
    try:
        items = [*tqdm(read(labelled, problems), unit="image", desc="reading")]
    finally:
        problems.report()
    form = BoxForm(writing.box_cells, shape=writing.box_shape, tag=writing.box_tag)
    asker = Asker(Vocabulary.of(items), form, writing.task_tags)
    asked = [
        (number, each)
        for number, item in enumerate(items)
        for each in asker.ask(item, random.Random(f"cmid instructions {writing.seed} {number}"))
        if not writing.tasks or each.task in writing.tasks
    ]
    kept = balance(asked, seed=writing.seed)
    if not kept:
        raise ValueError(
            f"nothing is left to ask about {len(items)} images of {labelled.data}: a question needs"
            " images with different answers"
        )
    lines = [
        json.dumps(entry, ensure_ascii=False) for entry in entries(items, kept, writing=writing)
    ]
    whole = writing.out.suffix == ".json"
    text = "[\n" + ",\n".join(lines) + "\n]\n" if whole else "\n".join(lines) + "\n"
    write_text(writing.out, text)
    table = balance_table(asked, kept)
    report = writing.report or writing.out.with_name(f"{writing.out.stem}_report")
    facts = [
        f"{len(items)} images, {len(asked)} questions, {len(kept)} kept in {len(lines)}"
        f" conversations: {writing.out}",
        "guesser: accuracy of the most frequent answer to each question, without the image",
        *overlap_facts(items, form),
        *(f"left out: {count} {reason}" for reason, count in problems.left_out.items()),
    ]
    sections = [Section("Balance", tables=[table]), Section("Answers", tables=answer_tables(kept))]
    title = f"Instructions from {labelled.data.name}"
    write_report(report, Report(title, command, sections, facts, problems.skipped, "entries"))
    return Made(len(items), len(lines), len(kept), table, report)


def overlap_facts(items: Sequence[Annotated], form: BoxForm) -> list[str]:
    """What turned boxes, as they are written, keep of the labels' outlines, in a line.

    Fractions of an image that is not square shear what is turned: a box in them is exact only for
    angles that are multiples of a right one. Overlaps are the same in fractions and in pixels.
    """
    if form.shape != "oriented":
        return []
    overlaps = []
    for item in items:
        for number in range(len(item.objects.categories) if item.objects else 0):
            true = item.corners(number)
            (written,) = form.parse(form.write(true)) or (true[:0],)
            if is_convex(true) and len(written):
                shared = convex_overlap(written, true)
                either = polygon_area(written) + polygon_area(true) - shared
                overlaps.append(shared / either)
    if not overlaps:
        return []
    return [
        f"turned boxes as written overlap the labelled outlines by {np.mean(overlaps):.2f} on"
        f" average and {min(overlaps):.2f} at least (IoU): fractions shear them where an image is"
        " not square; --box_shape polygon does not"
    ]


def read(labelled: LabelledConfig, problems: Problems) -> Iterator[Annotated]:
    """The annotated images of a set."""
    data, images = labelled.data, labelled.images
    if labelled.kind == "classification":
        return reading.classification(data, names=labelled.class_names)
    if labelled.kind == "coco":
        return reading.coco(data, images or data.parent, problems)
    if labelled.kind == "dota":
        return reading.dota(data, problems)
    if labelled.kind == "masks":
        return reading.masks(data, labelled.names, problems)
    if labelled.kind == "change":
        return reading.change(data, labelled.folders, problems, kind=labelled.changed)
    if labelled.kind == "captions":
        return reading.captions(data, images, labelled.on_error, split=labelled.split)
    from cmid.multimodal.instructions.features import CLASS_TAGS, annotate, read_features

    assert labelled.features is not None  # the settings have seen to it
    features = read_features(labelled.features, labelled.tags or CLASS_TAGS)
    return annotate(data, features, problems)


def entries(
    items: Sequence[Annotated], kept: Sequence[Placed], *, writing: WritingConfig
) -> Iterator[dict[str, Any]]:
    """Conversations in LLaVA's form, of so many turns about one image."""
    of_image = defaultdict(list)
    for number, each in kept:
        of_image[number].append(each)
    folder = writing.out.parent
    for number, asked in of_image.items():
        random.Random(f"cmid turns {writing.seed} {number}").shuffle(asked)
        paths = [os.path.relpath(path, folder) for path in items[number].images]
        marks = f"{IMAGE}\n" * len(paths)
        for first in range(0, len(asked), writing.turns):
            part = asked[first : first + writing.turns]
            said = []
            for place, each in enumerate(part):
                text = each.question if place else marks + each.question
                said += [{"from": "human", "value": text}, {"from": "gpt", "value": each.answer}]
            entry: dict[str, Any] = {
                "id": f"{number}-{first // writing.turns}",
                "image": paths[0] if len(paths) == 1 else paths,
                "tasks": [each.task for each in part],
                "conversations": said,
            }
            if items[number].attributes:
                entry["attributes"] = dict(items[number].attributes)
            yield entry
