"""Make preferences for training scorers: near-duplicates out, several captioners, a judge.

    python tools/make_preferences.py --images DIR --captioners MODEL MODEL --judge MODEL
    python tools/make_preferences.py --candidates FILE --images DIR --judge openai:MODEL
    python tools/make_preferences.py --candidates FILE --replay TRANSCRIPT --judge openai:MODEL

MODEL is a folder or a name of Hugging Face, or openai:NAME for a model of an endpoint (OpenAI's, or
that of --base_url). Writes preferences.json, transcript.jsonl and a report to --run_dir; the same
command goes on after an interruption, and asks nothing twice. Needs the extra scoring.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from cmid.command_line import command
from cmid.vision_language.judging.config import AskingConfig, CandidatesConfig


@dataclass(frozen=True)
class FolderConfig:
    """Where the preferences go.

    Attributes:
        run_dir: folder of the preferences, the transcript and the report.
    """

    run_dir: Path = Path("runs/preferences")


@command(
    CandidatesConfig,
    AskingConfig,
    FolderConfig,
    told=True,
    memory="--batch_size, or --max_new_tokens",
    again="answers are recorded: run the same command again to go on",
    skip="--on_error skip",
)
def main(
    candidates: CandidatesConfig, asking: AskingConfig, folder: FolderConfig, called: str
) -> None:
    """Make preferences, write the report, print what was made."""
    from cmid.vision_language.judging.making import PREFERENCES, make_preferences
    from cmid.vision_language.judging.report import left_out, summary, write_pages

    made = make_preferences(candidates, asking, run_dir=folder.run_dir)
    write_pages(made, asking, run_dir=folder.run_dir, command=called)
    print("\n".join(summary(made, asking)))
    for line in left_out(made):
        print(f"LEFT OUT: {line}", file=sys.stderr)
    print(f"preferences: {folder.run_dir / PREFERENCES}")
    print(f"report: {folder.run_dir / 'report.html'}")
