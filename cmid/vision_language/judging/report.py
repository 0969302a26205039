"""What a run of the preference engine says of itself: on the terminal, and as a page."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

from cmid.evaluation.image_text import fit_square
from cmid.files import whole_file
from cmid.reporting import Report, Row, Section, Table, write_report
from cmid.vision_language.judging.choosing import Choice
from cmid.vision_language.judging.config import ENDPOINT, AskingConfig
from cmid.vision_language.judging.judge import JUDGE
from cmid.vision_language.judging.making import CANDIDATES, Preferences
from cmid.vision_language.judging.rubric import DIMENSIONS
from cmid.visualization.panels import panels

_SHOWN, _SIDE = 6, 160  # examples, and pixels of their images
_TEXT = 200  # letters of an example


def summary(made: Preferences, asking: AskingConfig) -> list[str]:
    """What was made and what it took, a line each."""
    items, choices = made.items, made.choices
    closed = sum(item.answer is not None for item in items)
    texts = sum(len(item.candidates) for item in items)
    pairs = sum(len(choice.rejected) for choice in choices.made)
    lines = [
        f"{len(items)} items ({closed} closed questions) on {len({i.image for i in items})} images,"
        f" {texts} different candidates",
        f"{len(choices.made)} preferences of {pairs} pairs; {choices.ties} candidates as good as"
        " the chosen one, in no pair",
    ]
    if made.group_sizes:
        joined = sum(made.group_sizes) - len(made.group_sizes)
        largest = ", ".join(map(str, made.group_sizes[:5]))
        lines.insert(
            0,
            f"near-duplicates: {joined} of {sum(made.group_sizes)} items left out; largest groups"
            f" {largest}",
        )
    if choices.unclear:
        lines.append(f"{choices.unclear} answers contain the true one and more, in no pair")
    lines += [_usage(name, usage) for name, usage in made.usage.items()]
    if asking.judge is None and any(item.answer is None for item in items):
        lines.append(f"no judge: judge {CANDIDATES} later, with --candidates and --judge")
    if asking.judge is not None:
        lines.append(f"judgements: {made.judgements.malformed} answers without the form")
    if asking.judge is not None and (asking.price_in or asking.price_out):
        usage = made.usage.get(f"{JUDGE} {asking.judge.removeprefix(ENDPOINT)}", Counter())
        all_of_it, now = (cost(usage, asking, paid=paid) for paid in (False, True))
        lines.append(f"cost of the judge: ${all_of_it:.4f}, of which ${now:.4f} in this run")
    return lines


def left_out(made: Preferences) -> list[str]:
    """What did not become a preference, a line each, with its number."""
    reasons = Counter({f"item: {why}": n for why, n in made.choices.left_out.items()})
    reasons.update({f"candidate of {reason}": n for reason, n in made.missing.items()})
    reasons.update({f"judgement: {why}": n for why, n in made.judgements.dropped.items()})
    return [f"{count} x {reason}" for reason, count in reasons.most_common()] + made.skipped


def cost(usage: Counter[str], asking: AskingConfig, *, paid: bool = False) -> float:
    """Dollars at the prices that were given; ``paid``: of what was asked in this run only."""
    prefix = "paid_" if paid else ""
    read, written = usage[f"{prefix}prompt_tokens"], usage[f"{prefix}new_tokens"]
    return (read * asking.price_in + written * asking.price_out) / 1e6


def write_pages(made: Preferences, asking: AskingConfig, *, run_dir: Path, command: str) -> None:
    """Write ``report.md``, ``report.html`` and the pictures of the examples."""
    tables = [_sources(made), _dimensions(made)] + ([_rounds(made)] if asking.repeats > 1 else [])
    sections = [Section("", tables=[table for table in tables if table.rows])]
    judged = sorted((c for c in made.choices.made if c.scores), key=lambda c: -c.scores[0])
    examples = {"Best": judged[:_SHOWN], "Worst": judged[::-1][:_SHOWN]}
    for title, choices in examples.items():
        if choices:
            picture = f"{title.lower()}.png"
            _sheet(made, choices, run_dir / picture)
            table = _examples(choices)
            shown = [("example: score of the chosen text / of the last rejected one", picture)]
            sections.append(Section(f"{title} chosen texts", tables=[table], pictures=shown))
    if gone := left_out(made):
        sections.append(Section("Left out", gone))
    write_report(run_dir, Report("Preferences", command, sections, summary(made, asking)))


def _usage(name: str, usage: Counter[str]) -> str:
    line = (
        f"{name}: {usage['asked']} requests ({usage['retries']} retries, {usage['failed']} without"
        f" an answer), {usage['recorded']} answers from the transcript; {usage['prompt_tokens']}"
        f" tokens read, {usage['new_tokens']} written"
    )
    unknown = usage["without_counts"]
    return line + (f" ({unknown} answers without counts)" if unknown else "")


def _sources(made: Preferences) -> Table:
    """Where texts come from, what they score, and how often they are chosen."""
    scores: dict[str, list[dict[str, float]]] = defaultdict(list)
    texts: Counter[str] = Counter()
    for number, item in enumerate(made.items):
        for text, sources in item.candidates.items():
            found = made.judgements.dimensions(number, text)
            for source in sources:
                texts[source] += 1
                if found is not None:
                    scores[source].append(found)
    chosen = Counter(
        source
        for choice in made.choices.made
        for source in made.items[choice.item].candidates.get(choice.chosen, ["ground truth"])
    )
    rows = []
    for source in sorted({*texts, *chosen}):
        own = scores[source]
        means = [_mean([each[name] for each in own]) for name in DIMENSIONS]
        overall = _mean([sum(each.values()) / len(each) for each in own])
        rows.append(Row(source, (str(texts[source]), *means, overall, str(chosen[source]))))
    return Table(("source", "texts", *map(_words, DIMENSIONS), "mean", "chosen"), tuple(rows))


def _dimensions(made: Preferences) -> Table:
    """How a dimension alone would order two candidates of an item that the mean sets apart."""
    counts: dict[str, Counter[int]] = {name: Counter() for name in DIMENSIONS}
    for number, a, b in _compared(made):
        first, second = (made.judgements.dimensions(number, text) or {} for text in (a, b))
        mean = _sign(sum(first.values()) - sum(second.values()))
        for name in DIMENSIONS if mean else ():
            counts[name][mean * _sign(first[name] - second[name])] += 1
    rows = tuple(
        Row(_words(name), tuple(_share(count, side) for side in (1, 0, -1)))
        for name, count in counts.items()
        if count
    )
    return Table(("dimension alone orders two candidates", "as the mean", "equal", "against"), rows)


def _rounds(made: Preferences) -> Table:
    """Whether two independent judgements order two candidates alike."""
    counts: Counter[int] = Counter()
    for number, a, b in _compared(made):
        levels = [made.judgements.levels[number, text] for text in (a, b)]
        rounds = sorted({*levels[0]} & {*levels[1]})
        signs = [_sign(sum(levels[0][r].values()) - sum(levels[1][r].values())) for r in rounds]
        for one, other in combinations(signs, 2):
            counts[one * other if one or other else 1] += 1
    row = Row("all candidates of an item", tuple(_share(counts, side) for side in (1, 0, -1)))
    head = ("two judgements of a pair", "agree", "one of them a tie", "disagree")
    return Table(head, (row,) if counts else ())


def _compared(made: Preferences) -> Iterator[tuple[int, str, str]]:
    """Pairs of judged candidates of one item."""
    for number, item in enumerate(made.items):
        texts = [text for text in item.candidates if made.judgements.score(number, text)]
        for a, b in combinations(texts, 2):
            yield number, a, b


def _examples(choices: Sequence[Choice]) -> Table:
    rows = []
    for number, choice in enumerate(choices, start=1):
        texts = (_cut(choice.chosen), _cut(choice.rejected[-1]))
        scores = (f"{choice.scores[0]:.1f}", f"{choice.scores[-1]:.1f}")
        rows.append(Row(str(number), (*texts, *scores)))
    return Table(("example", "chosen", "last rejected", "score", "last"), tuple(rows), texts=3)


def _sheet(made: Preferences, choices: Sequence[Choice], path: Path) -> None:
    pictures = {}
    for number, choice in enumerate(choices, start=1):
        pixels = made.images.read(made.items[choice.item].image)
        square = fit_square(pixels, _SIDE, fit="squash")
        title = f"{number}: {choice.scores[0]:.1f} / {choice.scores[-1]:.1f}"
        pictures[title] = square.permute(1, 2, 0).numpy()
    with whole_file(path) as partial:
        sheet = panels(pictures, [], smooth=[*pictures], smallest=_SIDE)
        sheet.save(partial, format="PNG")


def _words(name: str) -> str:
    return name.replace("_", " ")


def _cut(text: str) -> str:
    text = " ".join(text.split()).replace("|", "/")
    return text if len(text) <= _TEXT else f"{text[: _TEXT - 3]}..."


def _mean(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.2f}" if values else "-"


def _share(counts: Counter[int], side: int) -> str:
    return f"{counts[side] / sum(counts.values()):.2f} ({counts[side]})"


def _sign(value: float) -> int:
    return (value > 1e-9) - (value < -1e-9)
