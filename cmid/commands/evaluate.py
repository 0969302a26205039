"""Measure frozen features of one or several backbones on labelled images.

python tools/evaluate.py BACKBONE [BACKBONE ...] DATA --tasks knn linear

Scores come with 95 % intervals over test images (and draws of few shots); differences between
backbones with paired ones, and those that the images do not tell are called ties.

python tools/evaluate.py BACKBONE DATA --labels 1 5 10 50 all --cache DIR --out curve.json

Accuracy by labelled images a class, frozen and fine-tuned, beside random weights frozen and trained
from scratch by as many steps. Takes minutes to hours; with --cache it goes on where it stopped.

BACKBONE  an exported folder, hf-hub:OWNER/NAME (one that was uploaded), a checkpoint (.ckpt),
          a published file (.pth, .safetensors),
          random: before one of these (the same network untrained), random:NAME (of timm),
          or a timm name (published weights)
DATA      a folder with train/ and test/ (or val/), any labelled source (divided 80/20), 'scenes',
          or a folder with img_dir/ and ann_dir/, whose masks are learned from dense features
"""

from __future__ import annotations

from cmid.command_line import command
from cmid.evaluation.config import ComparisonConfig, LabelConfig


@command(
    ComparisonConfig,
    LabelConfig,
    memory="--batch_size or --size",
    again="the same command goes on with what is in --cache, where you gave it",
)
def main(config: ComparisonConfig, curves: LabelConfig) -> None:
    """Evaluate, print tables, write what --out asks for."""
    # After parsing: --help and typing errors answer at once.
    from pathlib import Path

    from cmid.evaluation.comparison import compare_backbones
    from cmid.evaluation.results import Results
    from cmid.visualization.saving import save_figure
    from cmid.visualization.scores import label_figure, score_figure

    def draw(results: Results, out: str) -> None:
        figure = label_figure(results) if curves.labels else score_figure(results)
        print(f"picture: {save_figure(figure, Path(out).with_suffix('.png'))}")

    compare_backbones(config, curves=curves, draw=draw)
