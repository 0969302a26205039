"""Measure frozen features of one or several backbones on labelled images.

python tools/evaluate.py BACKBONE [BACKBONE ...] DATA --tasks knn linear

Scores come with 95 % intervals over test images (and draws of few shots); differences between
backbones with paired ones, and those that the images do not tell are called ties.

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
    """Evaluate, print tables, write what --out asks for."""
    # After parsing: --help and typing errors answer at once.
    from pathlib import Path

    from cmid.evaluation.comparison import compare_backbones
    from cmid.evaluation.results import Results
    from cmid.visualization.saving import save_figure
    from cmid.visualization.scores import score_figure

    def draw(results: Results, out: str) -> None:
        print(f"picture: {save_figure(score_figure(results), Path(out).with_suffix('.png'))}")

    compare_backbones(config, draw=draw)
