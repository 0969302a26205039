"""Measure frozen features of one or several backbones on labelled images.

python tools/evaluate.py BACKBONE [BACKBONE ...] DATA --tasks knn linear

BACKBONE  an exported folder, a checkpoint (.ckpt), a published file (.pth, .safetensors),
          random:NAME, or a timm name (published weights)
DATA      a folder with train/ and test/ (or val/), any labelled source (divided 80/20), or 'scenes'
"""

from __future__ import annotations

from cmid.command_line import command
from cmid.evaluation.config import ComparisonConfig


@command(
    ComparisonConfig,
    memory="--batch_size or --size",
    again="the same command goes on with the features in --cache, where you gave it",
)
def main(config: ComparisonConfig) -> None:
    """Evaluate, print a table, write JSON."""
    # After parsing: --help and typing errors answer at once.
    from cmid.evaluation.comparison import compare_backbones

    compare_backbones(config)
