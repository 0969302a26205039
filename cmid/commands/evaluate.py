"""Measure frozen features of one or several backbones on labelled images.

python tools/evaluate.py BACKBONE [BACKBONE ...] DATA --tasks knn linear

BACKBONE  an exported folder, a checkpoint (.ckpt), a published file (.pth, .safetensors),
          random:NAME, or a timm name (published weights)
DATA      a folder with train/ and test/ (or val/), any labelled source (divided 80/20), or 'scenes'
"""

from __future__ import annotations

from collections.abc import Sequence

from cmid.boundary import error_boundary
from cmid.command_line import parse
from cmid.evaluation.config import ComparisonConfig


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, evaluate, print a table, write JSON."""
    config, traceback = parse(
        ComparisonConfig, arguments=arguments, verb="evaluate", description=__doc__
    )
    again = "the same command goes on with the features in --cache" if config.cache else ""
    with error_boundary(traceback=traceback, memory="--batch_size or --size", again=again):
        # After parsing: --help and typing errors answer at once.
        from cmid.evaluation.comparison import compare_backbones

        compare_backbones(config)
