"""Questions about images with their answers, as files have them: JSON, JSON lines, parquet."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from cmid.data.decoding import read_image
from cmid.data.source import UnreadableImageError
from cmid.data.text_files import json_lines, parse_json
from cmid.data.values import require_8bit
from cmid.vision_language.data.problems import AnnotationError, load_json
from cmid.vision_language.scoring.preference_files import read_parquet

# Names of kinds in published files, and ours.
_KINDS = {"em": "exact", "open_ended": "open"}
KINDS = ("exact", "iou", "partial_iou", "open")
_BOX_COLUMNS = ("grid", "answer_grid")


@dataclass(frozen=True, eq=False)
class Question:
    """One question about one image.

    Attributes:
        name: names it in messages and results.
        image: ``(3, H, W)`` uint8, or the path or bytes of an image file.
        text: the question; empty where a caption is wanted.
        answer: the true answer, for ``open`` a reference; None where it is not known.
        kind: how answers are compared: a kind of
            :func:`cmid.vision_language.scoring.rewards.overall_reward`.
        columns: further columns of the rewards: ``grid`` and ``answer_grid`` of boxes.
        thought: what may be thought before the answer.
    """

    name: str
    image: Tensor | Path | bytes
    text: str
    answer: str | None = None
    kind: str = "exact"
    columns: Mapping[str, Any] = field(default_factory=dict)
    thought: str = ""

    def pixels(self) -> Tensor:
        """The image ``(3, H, W)`` uint8.

        Raises:
            UnreadableImageError: the file is missing, damaged, or has more than 8 bits a band.
        """
        if isinstance(self.image, Tensor):
            return self.image
        pixels = read_image(self.image, name=self.name).pixels
        require_8bit(pixels, self.name, error=UnreadableImageError)
        return pixels


def read_questions(
    path: str | Path, *, image_root: str | Path | None = None
) -> tuple[list[Question], Counter[str]]:
    """Read questions from a file.

    JSON (a list, or an object a line): ``image``, a path; ``question`` and ``answer``, or
    ``conversations`` with both; ``type`` (or ``kind``): ``exact`` (or ``em``), ``iou``,
    ``partial_iou``, ``open`` (or ``open_ended``); for boxes ``grid`` and ``answer_grid``.
    Parquet: ``image`` (bytes, or a struct of ``bytes`` and ``path``), ``problem``, ``answer``,
    ``type``.

    Args:
        path: ``.json``, ``.jsonl`` or ``.parquet``.
        image_root: folder that paths of images start from; None: that of the file.

    Returns:
        The questions, and how many were left out, by reason.

    Raises:
        FileNotFoundError: no such file.
        ModuleNotFoundError: parquet needs pyarrow, of the extra scoring.
        ValueError: no such file format, or none of its entries can be used.
    """
    path = Path(path)
    root = path.parent if image_root is None else Path(image_root)
    questions, skipped = [], Counter[str]()
    for number, row in enumerate(_rows(path)):
        try:
            questions.append(_question(row, f"{path.name}:{number}", root))
        except (KeyError, TypeError, ValueError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            skipped[reason.replace("'", "")] += 1
    if not questions:
        reasons = "; ".join(f"{count} x {reason}" for reason, count in skipped.items())
        raise ValueError(f"{path} holds no question that can be used: {reasons or 'it is empty'}")
    return questions, skipped


def _rows(path: Path) -> Sequence[Any]:
    if path.suffix == ".parquet":
        try:
            return read_parquet(path).read().to_pylist()
        except AnnotationError as error:
            raise ValueError(f"{path}: {error}") from error
    if path.suffix == ".jsonl":
        return [parse_json(line, name=f"{path}: line {n}") for n, line in json_lines(path)]
    if path.suffix != ".json":
        raise ValueError(f"cannot read questions of {path}: give .json, .jsonl or .parquet")
    rows = load_json(path)
    if not isinstance(rows, list):
        raise ValueError(f"{path} is no list of questions")
    return rows


def _question(row: Any, name: str, root: Path) -> Question:
    if not isinstance(row, dict):
        raise ValueError("not an object")
    text, answer = row.get("question", row.get("problem")), row.get("answer")
    if "conversations" in row:
        text, answer = (_said(turn) for turn in row["conversations"][:2])
    kind = str(row.get("kind", row.get("type", "exact")))
    kind = _KINDS.get(kind, kind)
    if kind not in KINDS:
        raise ValueError(f"kind {kind}: only {', '.join(KINDS)}")
    if not isinstance(text, str):
        raise KeyError("question")
    columns = {k: row[k] for k in _BOX_COLUMNS if row.get(k) is not None}
    own = answer if answer is None or isinstance(answer, str) else json.dumps(answer)
    return Question(name, _image(row["image"], root), text, own, kind, columns)


def _said(turn: Any) -> str:
    """A turn of a conversation: a text, or an object with it."""
    said = turn["value" if "value" in turn else "content"] if isinstance(turn, dict) else turn
    return str(said).replace("<image>", "").strip()


def _image(image: Any, root: Path) -> Path | bytes:
    if isinstance(image, dict):
        image = image.get("bytes") or image.get("path")
    if isinstance(image, bytes):
        return image
    path = root / image
    if not path.is_file():
        raise ValueError("its image is missing")
    return path
