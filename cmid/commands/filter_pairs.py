"""Keep the best image-text pairs by a learned score.

python tools/filter_pairs.py DATA --scorer SCORER --keep 0.3 --out selection.parquet

The selection is a view: it names every pair with its score, its rank and why it was dropped, and
training reads the data through it:

python tools/train_clip.py --config FILE --data.selection selection.parquet

and tools/train_multimodal.py a file of conversations by --data.source.init_args.selection.

An interrupted run goes on where it stopped; another --keep needs no new scores.
"""

from __future__ import annotations

import shlex
import sys

from cmid.command_line import command
from cmid.vision_language.filtering.config import (
    ChoiceConfig,
    EngineConfig,
    ScoringConfig,
    SourceConfig,
)


@command(
    SourceConfig,
    ScoringConfig,
    ChoiceConfig,
    EngineConfig,
    memory="--batch_size",
    again="run the same command again to go on",
    skip="--on_error skip",
)
def main(
    data: SourceConfig, scoring: ScoringConfig, choosing: ChoiceConfig, engine: EngineConfig
) -> None:
    """Score, choose, write the selection and its report."""
    from pathlib import Path

    from cmid.program import program
    from cmid.reporting import markdown_table
    from cmid.vision_language.data.conversations import ConversationTexts
    from cmid.vision_language.filtering.making import filter_sources, open_sources

    called = f"{program('filter_pairs')} {shlex.join(sys.argv[1:])}"
    sources = open_sources(data)
    table = filter_sources(
        sources,
        [Path(name).name for name in data.data],
        scoring=scoring,
        choosing=choosing,
        engine=engine,
        command=called,
    )
    print(markdown_table(table, aligned=True))
    spoken = any(isinstance(source, ConversationTexts) for source in sources)
    trainer, key = ("train_multimodal", "source.init_args.") if spoken else ("train_clip", "")
    option = f"--data.{key}selection {shlex.quote(str(engine.out))}"
    print(f"selection: {engine.out}; train on it with")
    print(f"  {program(trainer)} --config FILE {option}")
    print(f"report: {engine.report / 'report.html'}")
