"""kNN on per-band means and standard deviations: what colour alone tells about the classes.

    python -m benchmarks.classification.colour_baseline TRAIN VAL

A representation that does not beat this has learned nothing worth having.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from cmid.command_line import command
from cmid.data import ImageSource, open_source
from cmid.evaluation import knn_accuracy
from cmid.options import at_least


def colours(source: ImageSource) -> tuple[Tensor, Tensor]:
    """``(N, 2 C)`` means and standard deviations of each image, ``(N,)`` labels."""
    features, labels = [], []
    for index in range(len(source)):
        image = source.read(index)
        flat = image.pixels.float().flatten(1)
        features.append(torch.cat([flat.mean(1), flat.std(1)]))
        labels.append(image.label)
    return torch.stack(features), torch.tensor(labels)


@dataclass(frozen=True)
class ColourBaselineConfig:
    """Labelled images.

    Attributes:
        train: labelled images that vote.
        val: labelled images that are classified.
        k: how many vote.
    """

    train: str
    val: str
    k: Annotated[int, at_least(1)] = 20


@command(ColourBaselineConfig, memory="the number of images")
def main(config: ColourBaselineConfig) -> None:
    """Score, print."""
    (bank, bank_labels), (queries, labels) = (
        colours(open_source(path)) for path in (config.train, config.val)
    )
    mean, std = bank.mean(0), bank.std(0)
    accuracy = knn_accuracy(
        (bank - mean) / std, bank_labels, (queries - mean) / std, labels, k=config.k
    )
    print(f"kNN (k {config.k}) on means and standard deviations: {accuracy:.3f}")


if __name__ == "__main__":
    main()
