"""Conversations in one file: the form of LLaVA and GeoChat, and those of LHRS-Bot's data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cmid.multimodal.conversation import IMAGE
from cmid.multimodal.data.entries import ConversationEntries

DESCRIBE = "Describe the image."


class ConversationFile(ConversationEntries):
    """A JSON list (also below ``data``), or an object a line, each of one of these forms.

    - ``{"id", "image", "conversations": [{"from": "human" | "gpt", "value"}]}``, that of LLaVA
      and GeoChat. ``image`` is a path, a list of them, or missing for text alone; ``<image>`` marks
      their places.
    - ``{"name" | "filename" | "image", "conv": {"Question", "Answer"}}``, or a list of those:
      LHRS-Instruct.
    - ``{"img" | "image", "question", "answer"}``: grounding, with boxes in the texts.
    - ``{"name" | "image", "cap" | "caption"}``: captions, as answers to "Describe the image."
    - ``{"Question", "Answer"}``, ``{"question", "answer"}`` or ``{"instruction", "input",
      "output"}``: text alone.

    Texts keep their case and punctuation. Arguments are those of
    `cmid.multimodal.data.entries.ConversationEntries`; the file ends in ``.json`` or ``.jsonl``.
    """

    def rows(self) -> Iterator[tuple[str, Any]]:
        for number, row in enumerate(read_rows(self.path)):
            yield f"entry {number}", row

    def entry(self, row: Any, where: str) -> tuple[str, Sequence[str], Any]:
        if not isinstance(row, Mapping):
            raise ValueError("it is no JSON object")
        keys = ("image", "img", "name", "filename")
        given: Any = next((row[key] for key in keys if row.get(key)), [])
        paths = [given] if isinstance(given, str) else list(given)
        return str(row.get("id", where.removeprefix("entry "))), paths, _said(row)


def _said(row: Mapping[str, Any]) -> Any:
    """What `cmid.multimodal.conversation.Conversation.of` takes of an entry of any form."""
    if "conv" in row:
        pairs = row["conv"] if isinstance(row["conv"], list) else [row["conv"]]
        return [(str(pair["Question"]), str(pair["Answer"])) for pair in pairs]
    if "instruction" in row:
        more = str(row.get("input") or "")
        asked = f"{row['instruction']}\n{more}" if more else str(row["instruction"])
        return [(asked.replace(IMAGE, "image"), str(row["output"]))]
    for question, answer in (("Question", "Answer"), ("question", "answer")):
        if question in row:
            return [(str(row[question]), str(row[answer]))]
    for caption in ("cap", "caption"):
        if caption in row:
            return [(DESCRIBE, str(row[caption]))]
    return row["conversations"]


def read_rows(path: Path) -> list[Any]:
    """Entries of a JSON list, also below ``data``, or of JSON lines.

    Raises:
        ValueError: another ending, or a damaged file.
    """
    if path.suffix not in (".json", ".jsonl"):
        raise ValueError(f"cannot read conversations of {path}: give .json or .jsonl")
    text = path.read_text(encoding="utf-8")
    try:
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        rows = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if isinstance(rows, dict) and isinstance(rows.get("data"), list):
        rows = rows["data"]
    if not isinstance(rows, list):
        raise ValueError(f"{path} holds a {type(rows).__name__}, not a list of conversations")
    return rows
