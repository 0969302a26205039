"""Rewards of answers for reinforcement learning (arXiv:2503.00743), as plain functions.

Each takes ``prompts``, ``completions`` and columns of the data by name, and gives a number per
completion: TRL's ``GRPOTrainer(reward_funcs=[...])`` takes them as they are. An answer is
``<think>...</think><answer>...</answer>`` and nothing else; any other form earns 0 everywhere.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

from cmid.vision_language.scoring.box_answers import Frame, Numbers, matched_worth, read_boxes

FORMAT_SHARE = 0.3
_OPEN_ENDED_SLOPE = 0.2
# One block of each kind: with a second answer, or one within the thought, which one counts?
_INNER = r"((?:(?!</?(?:think|answer)>).)*)"
_FORM = re.compile(rf"<think>{_INNER}</think>\s*<answer>{_INNER}</answer>", re.DOTALL)
_NOT_A_COLUMN = (str, bytes)


def overall_reward(
    prompts: Sequence[Any], completions: Sequence[Any], *, answer: Any, kind: Any, **columns: Any
) -> list[float]:
    """0 without the format, else 0.3 and 0.7 of the accuracy.

    Args:
        prompts: ``B`` prompts; they have no influence.
        completions: ``B`` texts, or lists of messages of which the last one counts.
        answer: ``B`` true answers.
        kind: ``B`` names: ``exact`` for `exact_reward`, ``iou`` for `box_reward`, ``partial_iou``
            for `partial_box_reward`, ``open`` for `open_ended_reward`.
        columns: what these take, one value per completion; None where it does not apply.

    Returns:
        ``B`` numbers in [0, 1].

    Raises:
        ValueError: an unknown kind, or a column of another length.
    """
    count = len(completions)
    kinds = _column("kind", kind, count)
    unknown = sorted({str(name) for name in kinds if name not in _PARTS})
    if unknown:
        raise ValueError(f"no reward of kind {', '.join(unknown)}: one of {', '.join(_PARTS)}")
    per_row = {"prompts": prompts, "completions": completions, "answer": answer}
    per_row |= {k: v for k, v in columns.items() if _is_column(v, count)}
    fixed = {k: v for k, v in columns.items() if k not in per_row}
    accuracy = [0.0] * count
    for name, part in _PARTS.items():
        rows = [row for row, own in enumerate(kinds) if own == name]
        if rows:
            chosen = {k: [_column(k, v, count)[row] for row in rows] for k, v in per_row.items()}
            for row, value in zip(rows, part(**chosen, **fixed), strict=True):
                accuracy[row] = value
    form = format_reward(prompts, completions)
    return [
        f * (FORMAT_SHARE + (1 - FORMAT_SHARE) * a) for f, a in zip(form, accuracy, strict=True)
    ]


def format_reward(
    prompts: Sequence[Any], completions: Sequence[Any], **columns: Any
) -> list[float]:
    """1 where the whole text is one thought and one answer, white space only between them."""
    return [float(given_answer(completion) is not None) for completion in completions]


def exact_reward(
    prompts: Sequence[Any], completions: Sequence[Any], *, answer: Any, **columns: Any
) -> list[float]:
    """1 where the answer is the true one; case, white space and dots do not count.

    As published, 2.5 equals 25 and differs from 2.50. An empty answer is never right.
    """
    rewards = []
    for completion, true in zip(
        completions, _column("answer", answer, len(completions)), strict=True
    ):
        given = plain(given_answer(completion) or "")
        rewards.append(float(given != "" and given == plain(str(true))))
    return rewards


def box_reward(
    prompts: Sequence[Any], completions: Sequence[Any], *, answer: Any, **columns: Any
) -> list[float]:
    """How well as many boxes as there are fit: the mean of 0, 0.5, 0.6, 0.7 or 1 per box.

    Boxes are matched one to one in whatever order they are written; the steps are of an
    intersection over union above 0.5, 0.6, 0.7 and 0.8. Another number of boxes earns 0.

    Args:
        prompts: ``B`` prompts; they have no influence.
        completions: ``B`` texts or lists of messages.
        answer: ``B`` true boxes, as texts or lists of numbers; the notations are those of
            :func:`cmid.vision_language.scoring.box_answers.read_boxes`.
        columns: ``grid`` of the completions' numbers and ``answer_grid`` of the true ones:
            ``pixel``, ``normalised`` (0 to 1) or ``thousand`` (0 to 1000); by default both are on
            one grid. ``width`` and ``height`` of the images in pixels: needed where one grid is
            ``pixel`` and the other is not, and for angles in an image that is not square.

    Raises:
        ValueError: a true answer without boxes, an unknown grid, a missing size.
    """
    return [
        0.0 if len(found) != len(true) else matched_worth(found, true, frames=frames) / len(true)
        for found, true, frames in _boxes(completions, answer, columns)
    ]


def partial_box_reward(
    prompts: Sequence[Any], completions: Sequence[Any], *, answer: Any, **columns: Any
) -> list[float]:
    """`box_reward` that also pays for some of the boxes.

    It is the smaller one of what was found per box written (like precision) and per true box
    (like recall). Of more boxes than there are, only the first can earn, and all count as written:
    extra boxes never raise it.
    """
    rewards = []
    for found, true, frames in _boxes(completions, answer, columns):
        worth = matched_worth(found[: len(true)], true, frames=frames)
        rewards.append(worth / max(len(found), len(true)))
    return rewards


def open_ended_reward(
    prompts: Sequence[Any],
    completions: Sequence[Any],
    *,
    score: Any,
    reference_score: Any,
    **columns: Any,
) -> list[float]:
    r"""How far the score of an answer is above that of a reference answer.

    .. math:: 1 - e^{-0.2 (s - s_{ref})} \text{ where } s > s_{ref}, \text{ else } 0

    Args:
        prompts: ``B`` prompts; they have no influence.
        completions: ``B`` texts or lists of messages.
        score: ``B`` scores of the answers by one `Scorer`.
        reference_score: ``B`` scores of the references, for the same images and questions. None, or
            a number that is not finite, stands for a score that failed, and earns 0.
    """
    scores = _column("score", score, len(completions))
    references = _column("reference_score", reference_score, len(completions))
    rewards = []
    for completion, own, reference in zip(completions, scores, references, strict=True):
        failed = any(value is None or not math.isfinite(value) for value in (own, reference))
        if failed or given_answer(completion) is None or own <= reference:
            rewards.append(0.0)
        else:
            rewards.append(-math.expm1(-_OPEN_ENDED_SLOPE * (own - reference)))
    return rewards


def given_answer(completion: Any) -> str | None:
    """What stands between the answer's tags; None where the text has not the form.

    Args:
        completion: a text, or a list of messages (``{"role": ..., "content": ...}``).
    """
    if not isinstance(completion, str):
        content = completion[-1]["content"]
        if not isinstance(content, str):
            content = "".join(part.get("text", "") for part in content)
        completion = content
    match = _FORM.fullmatch(completion)
    return match[2] if match else None


def short(sample: str) -> str:
    """The answer of a sample: what stands between its tags, or all of it where it has none."""
    given = given_answer(sample)
    return (sample if given is None else given).strip()


def plain(answer: str) -> str:
    """An answer as answers are compared: without case, white space and dots."""
    # One form of an accented letter: tokenizers give either.
    return "".join(unicodedata.normalize("NFC", answer).lower().split()).replace(".", "")


_PARTS: dict[str, Callable[..., list[float]]] = {
    "exact": exact_reward,
    "iou": box_reward,
    "partial_iou": partial_box_reward,
    "open": open_ended_reward,
}


def _boxes(
    completions: Sequence[Any], answer: Any, columns: dict[str, Any]
) -> list[tuple[list[Numbers], list[Numbers], tuple[Frame, Frame]]]:
    """Found and true boxes with their frames; nothing found where the answer cannot be read."""
    count = len(completions)
    optional = ("grid", "answer_grid", "width", "height")
    options = [_column(name, columns.get(name), count) for name in optional]
    rows = []
    for completion, wanted, *row in zip(
        completions, _column("answer", answer, count), *options, strict=True
    ):
        true = read_boxes(wanted)
        if not true:
            raise ValueError(f"no boxes in the true answer {wanted!r}: give [x0, y0, x1, y1]")
        rows.append((read_boxes(given_answer(completion) or "") or [], true, _frames(*row)))
    return rows


def _frames(
    grid: str | None, true_grid: str | None, width: float | None, height: float | None
) -> tuple[Frame, Frame]:
    grid, true_grid = grid or true_grid or "pixel", true_grid or grid or "pixel"
    if width is not None and height is not None:
        size = {"width": width, "height": height}
    elif grid != true_grid and "pixel" in (grid, true_grid):
        raise ValueError(
            f"boxes on the grids {grid} and {true_grid} need the columns width and height"
        )
    else:
        size = {}
    return Frame.of(grid, **size), Frame.of(true_grid, **size)


def _is_column(value: Any, count: int) -> bool:
    return (
        isinstance(value, Sequence) and not isinstance(value, _NOT_A_COLUMN) and len(value) == count
    )


def _column(name: str, value: Any, count: int) -> Sequence[Any]:
    """One value per completion: a column as it is, a single text, number or None repeated."""
    if value is None or isinstance(value, (*_NOT_A_COLUMN, int, float)):
        return [value] * count
    if not _is_column(value, count):
        raise ValueError(f"the column {name} has {len(value)} values for {count} completions")
    return value
