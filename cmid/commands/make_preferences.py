"""Make preferences for training scorers: near-duplicates out, several captioners, a judge.

    python tools/make_preferences.py --images DIR --captioners MODEL MODEL --judge MODEL
    python tools/make_preferences.py --candidates FILE --images DIR --judge openai:MODEL
    python tools/make_preferences.py --candidates FILE --replay TRANSCRIPT --judge openai:MODEL

MODEL is a folder or a name of Hugging Face, or openai:NAME for a model of an endpoint (OpenAI's, or
that of --base_url). Writes preferences.json, transcript.jsonl and a report to --run_dir; the same
command goes on after an interruption, and asks nothing twice. Needs the extra scoring.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cmid.boundary import error_boundary
from cmid.command_line import parse
from cmid.program import program
from cmid.vision_language.judging.config import AskingConfig, CandidatesConfig


@dataclass(frozen=True)
class FolderConfig:
    """Where the preferences go.

    Attributes:
        run_dir: folder of the preferences, the transcript and the report.
    """

    run_dir: Path = Path("runs/preferences")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, make preferences, print what was made."""
    given = sys.argv[1:] if arguments is None else [*arguments]
    candidates, asking, folder, traceback = parse(
        CandidatesConfig,
        AskingConfig,
        FolderConfig,
        arguments=given,
        verb="make_preferences",
        description=__doc__,
    )
    with error_boundary(
        traceback=traceback,
        memory="--batch_size, or --max_new_tokens",
        again="answers are recorded: run the same command again to go on",
        skip="--on_error skip",
    ):
        # After parsing: --help and typing errors answer at once.
        from cmid.vision_language.judging.making import PREFERENCES, make_preferences
        from cmid.vision_language.judging.report import left_out, summary, write_pages

        made = make_preferences(candidates, asking, run_dir=folder.run_dir)
        command = f"{program('make_preferences')} {shlex.join(given)}"
        write_pages(made, asking, run_dir=folder.run_dir, command=command)
        print("\n".join(summary(made, asking)))
        for line in left_out(made):
            print(f"LEFT OUT: {line}", file=sys.stderr)
        print(f"preferences: {folder.run_dir / PREFERENCES}")
        print(f"report: {folder.run_dir / 'report.html'}")
