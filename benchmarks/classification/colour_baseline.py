"""kNN on per-band means and standard deviations: what colour alone tells about the classes.

    python -m benchmarks.classification.colour_baseline TRAIN VAL

A representation that does not beat this has learned nothing worth having.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor

from cmid.boundary import add_traceback_option, error_boundary
from cmid.data import ImageSource, open_source
from cmid.evaluation import knn_accuracy


def colours(source: ImageSource) -> tuple[Tensor, Tensor]:
    """``(N, 2 C)`` means and standard deviations of each image, ``(N,)`` labels."""
    features, labels = [], []
    for index in range(len(source)):
        image = source.read(index)
        flat = image.pixels.float().flatten(1)
        features.append(torch.cat([flat.mean(1), flat.std(1)]))
        labels.append(image.label)
    return torch.stack(features), torch.tensor(labels)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("train", help="labelled images that vote")
    parser.add_argument("val", help="labelled images that are classified")
    parser.add_argument("--k", type=int, default=20)
    add_traceback_option(parser)
    args = parser.parse_args(arguments)
    with error_boundary(traceback=args.traceback, memory="the number of images"):
        print(_score(args))


def _score(args: argparse.Namespace) -> str:
    (bank, bank_labels), (queries, labels) = (
        colours(open_source(path)) for path in (args.train, args.val)
    )
    mean, std = bank.mean(0), bank.std(0)
    accuracy = knn_accuracy(
        (bank - mean) / std, bank_labels, (queries - mean) / std, labels, k=args.k
    )
    return f"kNN (k {args.k}) on means and standard deviations: {accuracy:.3f}"


if __name__ == "__main__":
    main()
