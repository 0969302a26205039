"""From data and a scorer to a selection and its report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from cmid.claimed_folder import ClaimedFolder
from cmid.data.leaks import TestImages
from cmid.data.opening import open_source
from cmid.data.source import ImageSource
from cmid.evaluation.image_text import embed_images
from cmid.reporting import Table
from cmid.vision_language.data.opening import open_texts
from cmid.vision_language.data.selection import NothingKeptError
from cmid.vision_language.data.source import ImageTextSource
from cmid.vision_language.filtering.blocks import Work, open_embedder, open_scorer, weights_digest
from cmid.vision_language.filtering.choosing import REASONS, Choice, choose
from cmid.vision_language.filtering.config import (
    ChoiceConfig,
    EngineConfig,
    ScoringConfig,
    SourceConfig,
)
from cmid.vision_language.filtering.engines import score_blocks
from cmid.vision_language.filtering.merging import read_pairs, read_texts, write_selection
from cmid.vision_language.filtering.report import counts_table, report_filter
from cmid.vision_language.scoring.dual_encoder import DualEncoderScorer


def open_sources(config: SourceConfig) -> list[ImageTextSource]:
    """The sources of a filter, in order."""
    return [
        open_texts(
            data,
            root=config.root,
            split=config.split,
            caption_column=config.caption_column,
            on_error=config.on_error,
        )
        for data in config.data
    ]


def filter_sources(
    sources: Sequence[ImageTextSource],
    names: Sequence[str],
    *,
    scoring: ScoringConfig,
    choosing: ChoiceConfig,
    engine: EngineConfig,
    command: str = "",
) -> Table:
    """Score all pairs of sources, choose, and write selection and report.

    Args:
        sources: images with texts, which say their names and digests.
        names: of the sources, for selection and report.
        command: how it was called, for the report.

    Returns:
        Numbers of pairs by source and reason.

    Raises:
        FileNotFoundError, ModuleNotFoundError, ValueError: an option names nothing that is there,
            or has no meaning for this scorer.
        NothingKeptError: no pair is kept; selection and report are written.
        UnreadableImageError: an image of a test set cannot be decoded.
    """
    with ClaimedFolder(engine.blocks, option="--out") as folder:
        folder.keep()
        work = _prepared(sources, scoring, choosing, engine)
        blocks = work.blocks(scoring.block_size)
        score_blocks(work, blocks, engine)
        embedded = work.embedder is not None
        pairs = read_pairs(blocks, work.folder, embedded=embedded)
        choice = choose(pairs, choosing)
        about = {"name": Path(scoring.scorer).name, "digest": weights_digest(scoring.scorer)}
        test_sets = [Path(name).name for name in scoring.test_sets]
        metadata = {
            "sources": [
                {"name": name, "digest": source.digest, "images": len(source)}
                for name, source in zip(names, sources, strict=True)
            ],
            "scorer": about,
            "options": asdict(choosing),
            "test_sets": test_sets,
        }
        write_selection(engine.out, blocks, work.folder, choice, metadata)
        facts = [
            f"scorer {about['name']} ({about['digest'][:12]})",
            f"options: {', '.join(f'{k} {v}' for k, v in asdict(choosing).items())}",
            f"test sets: {', '.join(test_sets) or 'none were given'}",
        ]
        text = read_texts(blocks, work.folder)
        report_filter(
            engine.report, sources, names, pairs, choice, text, command=command, facts=facts
        )
    if not choice.kept.any():
        raise NothingKeptError(_nothing_kept(choice, engine))
    return counts_table(pairs, choice, names)


def _nothing_kept(choice: Choice, engine: EngineConfig) -> str:
    counts = Counter(REASONS[number] for number in choice.reason.tolist())
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
    return (
        f"{engine.out} keeps none of {len(choice.reason)} pairs ({reasons}): raise --keep, or lower"
        f" --min_score or --min_words; {engine.report / 'report.html'} shows the scores"
    )


def _prepared(
    sources: Sequence[ImageTextSource],
    scoring: ScoringConfig,
    choosing: ChoiceConfig,
    engine: EngineConfig,
) -> Work:
    device = scoring.device or ("cuda" if torch.cuda.is_available() or engine.gpus else "cpu")
    embedder = scoring.embedder
    if embedder is None and (choosing.duplicates is not None or scoring.test_sets):
        embedder = _own_embedder(scoring.scorer, needed=choosing.duplicates is not None)
    tests = _test_images(scoring.test_sets, embedder)
    return Work(
        tuple(sources),
        scoring.scorer,
        embedder,
        tests,
        engine.blocks.absolute(),
        scoring.batch_size,
        device,
    )


def _own_embedder(scorer: str, *, needed: bool) -> str | None:
    """The scorer, where it has a CLIP that gives embeddings."""
    if isinstance(open_scorer(scorer), DualEncoderScorer):
        return scorer
    if needed:
        raise ValueError(
            f"--duplicates: {scorer} has no CLIP to compare images: name an --embedder"
        )
    return None


def _test_images(paths: Sequence[str], embedder: str | None) -> TestImages | None:
    if not paths:
        return None
    sets: dict[str, ImageSource] = {}
    for path in paths:
        name = Path(path).name
        sets[name if name not in sets else path] = open_source(path)
    embeddings = None
    if embedder is not None:
        clip = open_embedder(embedder)
        found = [embed_images(clip, each, progress=name)[0] for name, each in sets.items()]
        embeddings = torch.cat(found)
    return TestImages(sets, embeddings)
