"""The preference engine: images, candidates and judgements to a file of preferences."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image as PillowImage

from cmid.claimed_folder import ClaimedFolder
from cmid.files import whole_file, write_text
from cmid.vision_language.judging.asking import check_models, open_model
from cmid.vision_language.judging.choosing import Choices, as_published, choose_best
from cmid.vision_language.judging.config import AskingConfig, CandidatesConfig
from cmid.vision_language.judging.items import Images, Item, items_of_file, items_of_images
from cmid.vision_language.judging.judge import Judgements, add_candidates, judge_items
from cmid.vision_language.judging.transcript import NOT_RECORDED, Transcript

PREFERENCES = "preferences.json"
CANDIDATES = "candidates.jsonl"
TRANSCRIPT = "transcript.jsonl"
_PICTURES = "images"


@dataclass
class Preferences:
    """What a run made, and what it left out on the way.

    Attributes:
        items: compared items with their candidates.
        images: their images.
        judgements, choices: what came of them.
        usage: by role and name of the model, see `Transcript`.
        group_sizes: number of items of each group of near-duplicates, the largest first; empty
            where they were not looked for.
        missing: candidates that captioners did not give, by reason.
        skipped: lines about unreadable images, faulty rows and empty candidates.
    """

    items: list[Item]
    images: Images
    judgements: Judgements
    choices: Choices
    usage: dict[str, Counter[str]]
    group_sizes: list[int] = field(default_factory=list)
    missing: Counter[str] = field(default_factory=Counter)
    skipped: list[str] = field(default_factory=list)


def make_preferences(
    candidates: CandidatesConfig, asking: AskingConfig, *, run_dir: Path
) -> Preferences:
    """Collect candidates, judge them and write ``preferences.json`` into a folder.

    Every question and answer goes to ``transcript.jsonl`` beside it as it comes. The same call goes
    on from there after an interruption, and asks nothing again that was answered. Candidates of
    captioners go to ``candidates.jsonl``, which may be judged later, too.

    Raises:
        FileNotFoundError, ModuleNotFoundError, ValueError: with a one-line message.
        UnreadableImageError: an image cannot be read, and ``on_error`` is ``error``.
    """
    check_models([*candidates.captioners, *filter(None, [asking.judge])], asking)
    with ClaimedFolder(run_dir) as folder:
        items, images, skipped = _open(candidates, asking)
        sizes: list[int] = []
        if candidates.deduplicate:
            # It brings torch's models: imported where it is asked for.
            from cmid.vision_language.judging.distinct import distinct_items

            distinct = distinct_items(items, images, candidates, asking)
            items, sizes = distinct.items, distinct.sizes
        open_ended = any(item.answer is None for item in items)
        if open_ended and asking.judge is None and not candidates.captioners:
            raise ValueError("captions and open answers are compared by a judge: give --judge")
        folder.keep()
        replayed = asking.replay is not None
        with closing(Transcript(asking.replay or run_dir / TRANSCRIPT, replay=replayed)) as record:
            missing: Counter[str] = Counter()
            for spec in candidates.captioners:  # one after the other is in memory
                missing += add_candidates(
                    items,
                    images,
                    open_model(spec, asking),
                    question=candidates.question,
                    transcript=record,
                )
            if candidates.captioners:
                write_candidates(items, images, run_dir)
            judgements = Judgements()
            if open_ended and asking.judge is not None:
                judgements = judge_items(
                    items,
                    images,
                    open_model(asking.judge, asking),
                    transcript=record,
                    rounds=asking.repeats,
                    attempts=asking.attempts,
                )
        _check_replay(record, judgements)
        choices = choose_best(items, judgements)
        made = Preferences(
            items, images, judgements, choices, record.usage, sizes, missing, skipped
        )
        write_preferences(made, run_dir)
        return made


def write_preferences(made: Preferences, run_dir: Path) -> None:
    """Write the published form, a preference a line; paths of images start from the folder.

    Images that are no files (of archives, generated ones) are written to ``images/``.
    """
    entries = []
    for choice in made.choices.made:
        item = made.items[choice.item]
        path = _image_path(item, made.images, run_dir)
        entries.append(as_published(choice, item, image_path=path, judgements=made.judgements))
    lines = ",\n".join(map(_as_json, entries))
    write_text(run_dir / PREFERENCES, f"[\n{lines}\n]\n")


def write_candidates(items: Sequence[Item], images: Images, run_dir: Path) -> None:
    """Write all candidates, an item a line, as `items_of_file` reads them."""
    lines = []
    for item in items:
        given = [(text, source) for text, of in item.candidates.items() for source in of]
        about = {"question": item.question or None, "answer": item.answer}
        row = {"image_path": _image_path(item, images, run_dir)}
        row |= {name: value for name, value in about.items() if value is not None}
        texts = [{"text": text, "source": source} for text, source in given]
        lines.append(_as_json({**row, "candidates": texts}))
    write_text(run_dir / CANDIDATES, "\n".join(lines) + "\n")


def _as_json(entry: Mapping[str, Any]) -> str:
    # A file's name need not be UTF-8: its other bytes become what JSON writes as \udc80 to \udcff.
    line = json.dumps(entry, ensure_ascii=False)
    return line.encode("utf-8", errors="backslashreplace").decode()


def _open(
    candidates: CandidatesConfig, asking: AskingConfig
) -> tuple[list[Item], Images, list[str]]:
    if candidates.candidates is not None:
        items, source, skipped = items_of_file(
            candidates.candidates,
            root=candidates.images,
            max_images=candidates.max_images,
            on_error=candidates.on_error,
        )
    else:
        assert candidates.images is not None  # CandidatesConfig sees to it
        items, source = items_of_images(candidates.images, max_images=candidates.max_images)
        skipped = []
    images = Images(source, on_error=candidates.on_error, num_workers=asking.num_workers)
    readable = [item for item in items if images.digests[item.image]]
    if not readable:
        raise ValueError(f"none of {len(images)} images can be read: {images.unreadable[0]}")
    return readable, images, skipped + images.unreadable


def _image_path(item: Item, images: Images, run_dir: Path) -> str:
    name = images.names[item.image]
    if Path(name).is_file():
        return Path(os.path.relpath(name, run_dir)).as_posix()
    path = run_dir / _PICTURES / f"{images.digests[item.image]}.png"
    if not path.is_file():
        pixels = images.read(item.image).permute(1, 2, 0).numpy()
        with whole_file(path) as partial:
            PillowImage.fromarray(pixels).save(partial, format="PNG")
    return path.relative_to(run_dir).as_posix()


def _check_replay(transcript: Transcript, judgements: Judgements) -> None:
    found = sum(usage["recorded"] for usage in transcript.usage.values())
    if transcript.replay and transcript.usage and not found:
        raise ValueError(
            f"{transcript.path} has none of the answers: replay with the images, candidates and"
            f" options of the recorded run ({judgements.dropped[NOT_RECORDED]} were looked for)"
        )
