"""Files of conversations about images, and their texts as pairs that a filter scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cmid.data.text_files import json_lines, parse_json, read_json
from cmid.vision_language.data.files import AnnotatedFiles, FileEntry
from cmid.vision_language.data.problems import AnnotationError, Problems, text_field

_MARK = "<image>"
_SENTENCE = 4  # words; a shorter answer says nothing without its question


class ConversationTexts(AnnotatedFiles):
    """Each conversation about one image as a pair of that image and a text.

    The file is a JSON list (also below ``data``), or an object a line, of ``{"image",
    "conversations": [{"from": "human" | "gpt", "value"}]}``, the form of LLaVA and GeoChat. The
    text holds all answers, those of less than 4 words after their questions. Conversations about no
    or several images are counted and left out: there is no pair to score.

    Arguments are those of `AnnotatedFiles`.

    Attributes:
        numbers: place of each one in the file, from 0.
    """

    has_regions = False

    def entries(self, path: Path, problems: Problems) -> Iterator[FileEntry]:
        self.numbers: list[int] = []
        for number, row in enumerate(read_rows(path)):
            with problems.at(f"entry {number}"):
                if not is_conversation(row):
                    raise AnnotationError("it is no object with a list conversations")
                images = row.get("image") or []
                images = [images] if isinstance(images, str) else images
                if len(images) != 1:
                    problems.left_out["conversations about no or several images"] += 1
                    continue
                entry = FileEntry(str(images[0]), (_text(row["conversations"]),))
                self.numbers.append(number)
                yield entry


def read_rows(path: Path) -> list[Any]:
    """Entries of a JSON list, also below ``data``, or of JSON lines.

    Raises:
        OSError: the file cannot be read.
        ValueError: another ending, or a damaged file; names file and line.
    """
    if path.suffix not in (".json", ".jsonl"):
        raise ValueError(f"cannot read conversations of {path}: give .json or .jsonl")
    if path.suffix == ".jsonl":
        return [parse_json(line, name=f"{path}: line {n}") for n, line in json_lines(path)]
    rows = read_json(path)
    if isinstance(rows, dict) and isinstance(rows.get("data"), list):
        rows = rows["data"]
    if not isinstance(rows, list):
        raise ValueError(f"{path} holds a {type(rows).__name__}, not a list of conversations")
    return rows


def is_conversation(row: Any) -> bool:
    """Whether an entry of a file is of LLaVA's form."""
    return isinstance(row, Mapping) and isinstance(row.get("conversations"), list)


def _text(messages: list[Any]) -> str:
    """Answers, the short ones after their questions; raises AnnotationError without any."""
    said, question = [], ""
    for message in messages:
        value = text_field(message, "value")
        if text_field(message, "from") != "gpt":
            question = " ".join(value.replace(_MARK, " ").split())
        elif len(value.split()) < _SENTENCE:
            said.append(f"{question} {value}".strip())
        else:
            said.append(value)
    if not said:
        raise AnnotationError("it has no answer")
    return " ".join(said)
