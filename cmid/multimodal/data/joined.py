"""Questions of benchmarks that come in forms of their own: RSVQA's three files, and LHRS-Bench."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cmid.data.text_files import read_json
from cmid.multimodal.data.entries import ConversationEntries

_PARTS = ("questions", "answers", "images")


class RsvqaQuestions(ConversationEntries):
    """RSVQA (arXiv:2003.07333): ``{NAME}_split_{split}_{questions,answers,images}.json``.

    Questions and answers are joined by their numbers; all types are read, counts and areas, too.
    An image is ``ID.tif`` below ``root``.

    Args:
        folder: of the three files.
        name: ``LR``, or ``USGS`` of the high-resolution set.
        split: ``train``, ``val``, ``test``; of USGS also ``test_phili``.
        **options: of `cmid.multimodal.data.entries.ConversationEntries`.
    """

    def __init__(
        self, folder: str | Path, *, name: str = "LR", split: str = "train", **options: Any
    ) -> None:
        super().__init__(Path(folder) / f"{name}_split_{split}", **options)

    def rows(self) -> Iterator[tuple[str, Any]]:
        parts = {part: _numbered(Path(f"{self.path}_{part}.json"), part) for part in _PARTS}
        for number, question in parts["questions"].items():
            where = f"question {number}"
            answers = [parts["answers"].get(key) for key in question.get("answers_ids", ())]
            yield where, (question, answers, parts["images"].get(question.get("img_id")))

    def entry(self, row: Any, where: str) -> tuple[str, Sequence[str], Any]:
        question, answers, image = row
        if image is None:
            raise ValueError("its image is not in the file of images")
        if len(answers) != 1 or answers[0] is None:
            raise ValueError("it has no answer, or several")
        asked = (str(question["question"]), str(answers[0]["answer"]))
        return where.removeprefix("question "), [str(image["id"])], [asked]


class BenchQuestions(ConversationEntries):
    """LHRS-Bench's ``qa.json``: questions with choices; answers are letters.

    Arguments are those of `cmid.multimodal.data.entries.ConversationEntries`.
    """

    def rows(self) -> Iterator[tuple[str, Any]]:
        content = read_json(self.path)
        data = content.get("data") if isinstance(content, dict) else None
        if not isinstance(data, list):
            raise ValueError(f"{self.path} has no list data of questions: it is not LHRS-Bench's")
        for number, entry in enumerate(data):
            for place, pair in enumerate(entry["qa_pairs"]):
                yield f"image {number}, question {place}", (entry["filename"], pair)

    def entry(self, row: Any, where: str) -> tuple[str, Sequence[str], Any]:
        image, pair = row
        letter = re.match(r"\s*\(?([A-Z])\b", str(pair["answer"]))
        if letter is None:
            raise ValueError(f"its answer {pair['answer']!r} begins with no letter of a choice")
        return where, [image], [(f"{pair['question']} {pair['choices']}", letter[1])]


def _numbered(path: Path, part: str) -> dict[Any, dict[str, Any]]:
    """Entries that are in use, by their number."""
    content = read_json(path)
    rows = content.get(part) if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise ValueError(f"{path} has no list {part}: it is not of RSVQA's form")
    return {row["id"]: row for row in rows if row.get("active", True)}
