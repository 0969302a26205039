"""Evaluate a model that answers questions about images, beside a blind guesser and chance.

    python tools/evaluate_multimodal.py MODEL --suite scenes --out DIR
    python tools/evaluate_multimodal.py MODEL --suite vqa --data RSVQA_LR --out DIR
    python tools/evaluate_multimodal.py NAME --endpoint http://127.0.0.1:8000/v1 --suite scenes --out DIR

Suites: generated scenes; classification folders (AID, NWPU-RESISC45, EuroSAT, ...); vqa (RSVQA-LR,
-HR); grounding (RSVG, DIOR-RSVG); choice (LHRS-Bench, every question in all rotations of its
choices); captions (UCM-captions, RSICD, ...); instructions (what tools/make_instructions.py made of
any labelled set). --out gets every answer (predictions.jsonl), scores with 95 % intervals
(scores.json), a report and a picture. Needs the extra multimodal; endpoints need the extra scoring.
"""  # noqa: E501

from __future__ import annotations

from benchmarks.multimodal.config import ModelConfig, SuiteConfig
from cmid.command_line import command
from cmid.console import quieten


@command(
    ModelConfig,
    SuiteConfig,
    told=True,
    memory="--batch_size",
    again="run the same command again",
    skip="--on_error skip",
)
def main(model: ModelConfig, suite: SuiteConfig, called: str) -> None:
    """Ask, print the table, write the report."""
    quieten()
    # After parsing: --help and typing errors answer at once.
    from benchmarks.multimodal.evaluation import run_evaluation

    run_evaluation(model, suite, command=called)
    print(f"report: {suite.out / 'report.html'}")
