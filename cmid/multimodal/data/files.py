"""Conversations in one file: the form of LLaVA and GeoChat, and those of LHRS-Bot's data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cmid.console import warn
from cmid.multimodal.conversation import IMAGE
from cmid.multimodal.data.entries import ConversationEntries
from cmid.vision_language.data.conversations import ConversationTexts, read_rows
from cmid.vision_language.data.selection import SelectedTexts

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

    Texts keep their case and punctuation.

    Args:
        path: ends in ``.json`` or ``.jsonl``.
        selection: file of ``tools/filter_pairs.py``, made of a file of LLaVA's form: only the
            conversations that it keeps are read; how many are not is told.
        **options: of `cmid.multimodal.data.entries.ConversationEntries`.

    Raises:
        FileNotFoundError: no such file.
        ModuleNotFoundError: pyarrow is not installed, and there is a selection.
        ValueError: as `ConversationEntries`; or the selection is of another file, or keeps nothing.
    """

    def __init__(
        self, path: str | Path, *, selection: str | Path | None = None, **options: Any
    ) -> None:
        self.selection = selection
        super().__init__(path, **options)

    def rows(self) -> Iterator[tuple[str, Any]]:
        rows = read_rows(self.path)
        kept = range(len(rows)) if self.selection is None else self._selected(len(rows))
        for number in kept:
            yield f"entry {number}", rows[number]

    def _selected(self, of: int) -> list[int]:
        assert self.selection is not None  # who calls has looked
        source = ConversationTexts(self.path, root=self.root, on_error=self.on_error)
        view = SelectedTexts(source, self.selection)
        kept = [source.numbers[index] for index in view.indices.tolist()]
        if len(kept) < of:
            warn(
                f"{of - len(kept)} of {of} entries of {self.path} are left out: {self.selection}"
                f" keeps {len(kept)} of the {len(source)} that are about one image"
            )
        return kept

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
