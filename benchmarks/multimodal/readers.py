"""Questions and true answers of published data sets, from the folders of their users."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from benchmarks.multimodal.files import Entries, OnError, rows_of
from benchmarks.multimodal.prompts import Prompts
from cmid.data.folder import ImageFolder
from cmid.data.text_files import read_json, stripped_lines
from cmid.evaluation.answers.question import LETTERS, Kind, Question
from cmid.multimodal.boxes import BoxForm, upright_corners
from cmid.vision_language.data.opening import open_texts
from cmid.vision_language.data.source import ImageTextSource
from cmid.vision_language.prompts.class_names import named_classes

ALL_TYPES = "all types"
"""Task in which questions of all types count."""
_CHOICE = re.compile(r"(?:^|\s)\(?([A-Z])[.)]\s*")


def read_classification(
    path: Path, prompts: Prompts, names: str | None = None
) -> Iterator[Question]:
    """A folder of images in a sub-folder a class (AID, NWPU-RESISC45, EuroSAT, WHU-RS19, ...).

    Args:
        names: of the classes, see `cmid.vision_language.prompts.class_names.named_classes`.
    """
    source = ImageFolder(path, labels="folders")
    classes = tuple(named_classes(source.classes or (), names))
    text = prompts.classification(classes)
    for stored, label in zip(source.paths, source.labels, strict=True):
        name = bytes(stored).decode(errors="surrogateescape")
        true = (classes[label],)
        image = source.root / name
        yield Question("classification", "class", text, true, name, image, classes)


def read_vqa(path: Path, prompts: Prompts, entries: Entries, split: str) -> Iterator[Question]:
    """RSVQA-LR or -HR (arXiv:2003.07333): ``*_split_SPLIT_questions.json`` and its answers.

    Questions and answers are joined by their numbers; a task a type, counts and areas included.
    """
    found = sorted(path.glob(f"*_split_{split}_questions.json"))
    if len(found) != 1:
        raise FileNotFoundError(f"{path} has {len(found)} files *_split_{split}_questions.json")
    own = Path(str(found[0]).replace("_questions.json", "_answers.json"))
    answers = {row["id"]: row for row in rows_of(own, "answers") if row.get("active", True)}
    questions: list[Question] = []
    for row in rows_of(found[0], "questions"):
        if not row.get("active", True):
            continue
        with entries.entry(f"{found[0].name}: question {row.get('id')}"):
            # Numbers, not places: what is not active leaves gaps.
            true = tuple(str(answers[number]["answer"]) for number in row["answers_ids"])
            kind: Kind = {"count": "count", "area": "area"}.get(row["type"], "exact")  # type: ignore[assignment]
            image = entries.image(str(row["img_id"]))
            name = f"{row['img_id']}/{row['id']}"
            text = prompts.vqa(row["question"])
            questions.append(
                Question(row["type"], kind, text, true, name, image, also=(ALL_TYPES,))
            )
    yield from with_known_answers(questions)


def with_known_answers(questions: list[Question]) -> Iterator[Question]:
    """What can be answered to a type is what is answered to it, unless that is known."""
    known: dict[str, dict[str, None]] = defaultdict(dict)
    for question in questions:
        known[question.task] |= dict.fromkeys(question.answers)
    for question in questions:
        unknown = question.kind in ("class", "exact") and not question.among
        among = tuple(known[question.task]) if unknown else question.among
        yield replace(question, among=among)


def read_grounding(
    path: Path,
    prompts: Prompts,
    entries: Entries,
    split: str | None = None,
    *,
    cells: int = 1,
) -> Iterator[Question]:
    """RSVG and DIOR-RSVG: JSON of LHRS's form, or a folder of annotations in XML.

    JSON holds ``{"img" | "image", "question", "answer"}``, boxes in the answer. XML is
    that of DIOR-RSVG: objects with ``bndbox`` in pixels and ``description``; a file ``SPLIT.txt``
    beside it lists numbers of objects, counted over all files in the order of their names.

    Args:
        split: of XML: test by default; ``all`` takes every object. JSON has none.
        cells: of the true boxes in JSON: fractions (1), or numbers from 0 to so many.

    Raises:
        FileNotFoundError, ValueError: data that is missing or faulty; a split of JSON.
    """
    if split is not None and not path.is_dir():
        raise ValueError(f"{path} has no split {split}: name the file of that part, and no split")
    true = BoxForm(cells)
    rows = _grounding_xml(path, split or "test") if path.is_dir() else _grounding_json(path, true)
    read = BoxForm(cells=prompts.cells).parse
    for number, (name, question, boxes) in enumerate(rows):
        with entries.entry(f"{path.name}: entry {number}"):
            if not boxes:
                raise ValueError(f"no box in the answer to {question!r}")
            if isinstance(boxes, str):
                raise ValueError(
                    f"box {boxes} is outside of an image of {cells} cells a side: give the grid of"
                    " the file with --data_cells"
                )
            text = prompts.grounding(question)
            yield Question(
                "grounding", "box", text, (question,), f"{name}/{number}", entries.image(name),
                boxes=tuple(boxes), read_boxes=read,
            )  # fmt: skip


def _grounding_json(path: Path, form: BoxForm) -> Iterator[tuple[str, str, list[Any] | str]]:
    """Image, question, and boxes, or the one that lies outside of the image."""
    for row in rows_of(path):
        name, answer = row.get("img") or row.get("image") or "", str(row.get("answer"))
        yield name, str(row.get("question")), form.outside(answer) or form.parse(answer) or []


def _grounding_xml(path: Path, split: str) -> Iterator[tuple[str, str, list[Any] | str]]:
    folder = path / "Annotations" if (path / "Annotations").is_dir() else path
    files = sorted(folder.glob("*.xml"))
    if not files:
        raise FileNotFoundError(f"{folder} has no annotations (*.xml)")
    listed = path / f"{split}.txt"
    if split != "all" and not listed.is_file():
        raise FileNotFoundError(
            f"{listed} does not exist: put the numbers of that split's objects there, or take the"
            " objects of all splits with --split all"
        )
    wanted = None if split == "all" else {*stripped_lines(listed)}
    number = 0
    for file in files:
        try:
            root = ElementTree.parse(file).getroot()
            sides = [float(root.findtext(f"size/{side}", "nan")) for side in ("width", "height")]
            for each in root.iter("object"):
                corners = [
                    float(each.findtext(f"bndbox/{side}", "nan"))
                    for side in ("xmin", "ymin", "xmax", "ymax")
                ]
                if wanted is None or str(number) in wanted:
                    box = np.array(corners) / (sides * 2)
                    told = each.findtext("description") or each.findtext("name") or ""
                    name = root.findtext("filename") or file.stem
                    found: list[Any] | str = []
                    if np.isfinite(box).all():
                        found = [upright_corners(box.tolist())]
                    yield name, f"Where is {told}?", found
                number += 1
        except (ElementTree.ParseError, ValueError) as error:
            raise ValueError(f"{file} is damaged: {error}") from error


def read_choices(path: Path, prompts: Prompts, entries: Entries) -> Iterator[Question]:
    """LHRS-Bench (arXiv:2402.02544), ``qa.json``: a task a type; the letter A stays a letter."""
    file = path / "qa.json" if path.is_dir() else path
    types = _types(_told_types(file))
    for row in rows_of(file):
        for number, pair in enumerate(row.get("qa_pairs", ())):
            with entries.entry(f"{file.name}: {row.get('filename')}, question {number}"):
                choices = listed_choices(pair["choices"])
                letter = str(pair["answer"]).strip().strip("().").upper()[:1]
                if letter not in choices or len({*choices.values()}) < len(choices):
                    raise ValueError(f"answer {pair['answer']!r} to choices {pair['choices']!r}")
                own = tuple(types.get(str(kind), str(kind)) for kind in pair["type"]) or ("other",)
                yield Question(
                    own[0], "choice", pair["question"], (choices[letter],),
                    f"{row['filename']}/{number}", entries.image(row["filename"]),
                    tuple(choices.values()), listed=prompts.choice,
                    also=(*own[1:], ALL_TYPES),
                )  # fmt: skip


def listed_choices(text: str) -> dict[str, str]:
    """Choices by letter; a letter out of turn (``U.S.``) is text."""
    starts: list[re.Match[str]] = []
    for found in _CHOICE.finditer(text):
        if found[1] == LETTERS[len(starts)]:
            starts.append(found)
    ends = [*(found.start() for found in starts[1:]), len(text)]
    return {
        found[1]: text[found.end() : end].strip() for found, end in zip(starts, ends, strict=True)
    }


def _told_types(file: Path) -> Any:
    """Names of types, which stand beside the list."""
    content = read_json(file) if file.is_file() else {}
    return content.get("qtype", {}) if isinstance(content, dict) else {}


def _types(told: Any) -> dict[str, str]:
    """Names of types by their number, which are told in either direction or as a list."""
    if isinstance(told, list):
        return {str(number): str(name) for number, name in enumerate(told)}
    turned = {str(key): str(value) for key, value in dict(told).items()}
    if all(value.isdigit() for value in turned.values()):
        turned = {value: key for key, value in turned.items()}
    return turned


def read_captions(
    path: Path, images: Path | None, split: str | None, on_error: OnError
) -> Iterator[Question]:
    """Images with captions: whatever ``tools/train_clip.py`` reads (UCM-captions, RSICD, ...)."""
    source = open_texts(path, root=images, split=split, on_error=on_error)
    for index in range(len(source)):
        captions, name = source.captions(index), source.name(index)
        image = partial(_pixels, source, index)
        yield Question("caption", "caption", "Describe the image.", captions, name, image)


def _pixels(source: ImageTextSource, index: int) -> Tensor:
    return source.read(index).image.pixels
