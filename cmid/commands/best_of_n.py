"""Answer questions about images several times and pick the best answer.

python tools/best_of_n.py QUESTIONS --model MODEL --scorer SCORER --out DIR

QUESTIONS  a list of {image, question, answer, type} or {image, conversations, type} (.json, .jsonl,
           .parquet), or 'scenes'; answers may be missing
MODEL      folder of a multimodal model of this project, or folder or name of an image-text-to-text
           model of Hugging Face

DIR gets every answer with its scores and what each method picks (samples.jsonl), and where answers
are known the accuracy against N of the scorer, of CLIP similarity (--clip), of a majority vote and
of an oracle (report.md, report.html, accuracy.png, results.json). Needs the extra vision-language.
"""

from __future__ import annotations

from cmid.command_line import command
from cmid.console import quieten
from cmid.vision_language.scoring.best_of_n_config import BestOfNConfig


@command(
    BestOfNConfig,
    told=True,
    memory="--batch_size, --n or --max_new_tokens",
    again="the same command goes on with the answers in --out",
)
def main(config: BestOfNConfig, called: str) -> None:
    """Draw, pick, print a table, write the report."""
    quieten()
    # After parsing: --help and typing errors answer at once.
    from cmid.multimodal.rewarding.sampling import asked_questions, open_sampler
    from cmid.vision_language.scoring.best_of_n import best_of_n
    from cmid.vision_language.scoring.best_of_n_report import report_best_of_n, write_preferences

    questions = asked_questions(config)
    rows = best_of_n(config, questions=questions, open_sampler=open_sampler)
    report_best_of_n(config, rows, command=called)
    if config.preferences:
        write_preferences(config, questions, rows)
