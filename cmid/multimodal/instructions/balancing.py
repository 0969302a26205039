"""Which questions are kept, so that no answer can be guessed from its question alone."""

from __future__ import annotations

import random
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence

from cmid.multimodal.instructions.asking import Asked
from cmid.reporting import Row, Table

EVEN = frozenset({"presence", "cover_presence", "comparison", "cover_comparison", "change"})
"""Tasks of two answers, each of which is true equally often of every subject."""
FREE = frozenset({"caption", "change_caption"})
"""Tasks whose answers are no classes."""
_ONE_ANSWER = frozenset({"grounding", "honesty"})  # the other one's, to the same question
_CAP = 2  # how many times the median of its group an answer may occur

Placed = tuple[int, Asked]
"""A question with the number of its image."""


def balance(asked: Sequence[Placed], *, seed: int = 0) -> list[Placed]:
    """Drop questions whose answers are too frequent.

    Among questions of one task and subject ("are there ships"): of two answers (`EVEN`) either is
    kept equally often, and a subject with one answer only goes; of more, none occurs more often
    than the second most frequent one, or than twice the median one. Absent things are asked for at
    most as often as there are questions of the same words about them where they are present.

    Returns:
        Those that stay, in their order.
    """
    draws = random.Random(f"cmid balance {seed}")
    groups: dict[tuple[str, str], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for place, (_, each) in enumerate(asked):
        groups[each.task, each.subject][each.group].append(place)
    kept: list[int] = []
    present: Counter[str] = Counter()
    # Before "honesty", by the letters.
    for (task, subject), answers in sorted(groups.items()):
        sizes = [len(places) for places in answers.values()]
        if task in FREE:
            cap = max(sizes)
        elif task in EVEN:
            cap = min(sizes) if len(sizes) == 2 else 0
        elif task == "honesty":
            cap = present[subject]
        else:
            second = sorted(sizes)[-2:][0]
            cap = max(1, min(second, round(_CAP * statistics.median(sizes))))
        for _, places in sorted(answers.items()):
            chosen = draws.sample(places, min(cap, len(places)))
            kept += chosen
            if task == "grounding":
                present[subject] += len(chosen)
    return [asked[place] for place in sorted(kept)]


def balance_table(asked: Sequence[Placed], kept: Sequence[Placed]) -> Table:
    """Of each task: questions before and after, answers, the most frequent one and its share.

    The last column is what a guesser reaches who knows the question and the training set, and not
    the image: of each subject the most frequent answer.
    """
    before = Counter(each.task for _, each in asked)
    rows = []
    for task, count in sorted(before.items()):
        mine = [each for _, each in kept if each.task == task]
        answers = Counter(each.group for each in mine)
        most, times = answers.most_common(1)[0] if answers else ("", 0)
        of_subject: dict[str, Counter[str]] = defaultdict(Counter)
        for each in mine:
            of_subject[each.subject][each.group] += 1
        guessed = sum(max(groups.values()) for groups in of_subject.values())
        told = task not in FREE | _ONE_ANSWER and mine
        shares = (f"{times / len(mine):.2f}", f"{guessed / len(mine):.2f}") if told else ("", "")
        cells = (str(count), str(len(mine)), *((str(len(answers)), most) if told else ("", "")))
        rows.append(Row(task, (*cells, *shares)))
    head = ("task", "asked", "kept", "answers", "most frequent", "its share", "guesser")
    return Table(head, tuple(rows))


def answer_tables(kept: Sequence[Placed], *, most: int = 12) -> list[Table]:
    """Of each task with answers that are classes, how often the most frequent ones occur."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for _, each in kept:
        if each.task not in FREE:
            counts[each.task][each.group] += 1
    return [
        Table((task, "questions"), tuple(Row(a, (str(n),)) for a, n in found.most_common(most)))
        for task, found in sorted(counts.items())
    ]
