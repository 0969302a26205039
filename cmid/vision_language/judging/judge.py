"""Candidates from captioners, and what a judge thinks of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from tqdm import tqdm

from cmid.vision_language.judging.asking import About, Request, VisionModel
from cmid.vision_language.judging.items import Images, Item
from cmid.vision_language.judging.rubric import DIMENSIONS, SCHEMA, judge_prompt, parse_judgement
from cmid.vision_language.judging.transcript import Transcript

Levels = dict[str, int]

CAPTIONER, JUDGE = "captioner", "judge"


@dataclass
class Judgements:
    """What a judge said.

    Attributes:
        levels: by number of the item and text, a judgement for each round that has one.
        malformed: number of answers that had not the form, also those before a good one.
        dropped: judgements that are missing for good, by reason.
    """

    levels: dict[tuple[int, str], dict[int, Levels]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    malformed: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def dimensions(self, item: int, text: str) -> dict[str, float] | None:
        """Means over rounds; None without a judgement."""
        rounds = self.levels.get((item, text), {}).values()
        if not rounds:
            return None
        return {name: sum(each[name] for each in rounds) / len(rounds) for name in DIMENSIONS}

    def score(self, item: int, text: str) -> float | None:
        """Plain mean over dimensions and rounds; None without a judgement."""
        found = self.dimensions(item, text)
        return None if found is None else sum(found.values()) / len(found)


def add_candidates(
    items: Sequence[Item],
    images: Images,
    model: VisionModel,
    *,
    question: str,
    transcript: Transcript,
) -> Counter[str]:
    """Let a model describe each image or answer its question; what did not give a candidate."""

    def requests() -> Iterator[Request]:
        for number, item in enumerate(items):
            read, digest = partial(images.read, item.image), images.digests[item.image]
            yield Request((number,), read, digest, item.question or question)

    missing: Counter[str] = Counter()
    answers = transcript.ask(model, requests(), role=CAPTIONER)
    for (number,), reply in tqdm(answers, desc=model.name, total=len(items), leave=False):
        if reply.error:
            missing[f"{model.name}: {reply.error}"] += 1
        elif not items[number].add(reply.text, model.name):
            missing[f"{model.name}: empty"] += 1
    return missing


def judge_items(
    items: Sequence[Item],
    images: Images,
    model: VisionModel,
    *,
    transcript: Transcript,
    rounds: int = 1,
    attempts: int = 3,
) -> Judgements:
    """Have every candidate of captions and open questions judged, where there are several.

    Args:
        rounds: independent judgements of each candidate.
        attempts: how often a judgement is asked for whose answers cannot be read; the judge is told
            what was wrong.
    """
    found = Judgements()
    texts: dict[About, tuple[int, str]] = {}
    for number, item in enumerate(items):
        if item.answer is None and len(item.candidates) > 1:
            for place, text in enumerate(item.candidates):
                for turn in range(rounds):
                    texts[number, place, turn] = number, text

    def request(about: About, complaint: str, attempt: int) -> Request:
        number, text = texts[about]
        item = items[number]
        read, digest = partial(images.read, item.image), images.digests[item.image]
        prompt = judge_prompt(text, item.question, complaint=complaint)
        return Request(about, read, digest, prompt, SCHEMA, about[-1], attempt)

    pending = dict.fromkeys(texts, "")
    for attempt in range(attempts):
        asked = (request(*each, attempt) for each in pending.items())
        answers = transcript.ask(model, asked, role=JUDGE)
        unread: dict[About, str] = {}
        title = model.name if not attempt else f"{model.name}, attempt {attempt + 1}"
        for about, reply in tqdm(answers, desc=title, total=len(pending), leave=False):
            if reply.error:
                found.dropped[reply.error] += 1
                continue
            try:
                found.levels[texts[about]][about[-1]] = parse_judgement(reply.text)
            except ValueError as error:
                unread[about] = str(error)
        found.malformed += len(unread)
        pending = unread
        if not pending:
            break
    found.dropped.update(f"unreadable: {reason}" for reason in pending.values())
    return found
