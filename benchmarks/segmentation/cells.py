"""kNN among the cells of a scene: what backbones know of its labels without being trained on them.

python -m benchmarks.segmentation.cells BACKBONE ... --scene first.tif --labels labels.tif

Square areas of the scene are labelled and asked in turn, as the fields of a chessboard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor

from cmid.checkpoints import load_backbone
from cmid.command_line import command
from cmid.data.rasters import one_line_errors, opened, rasterio_module
from cmid.evaluation.knn import knn_accuracy
from cmid.inference.embeddings import EmbeddingModel
from cmid.options import at_least, option
from cmid.reporting import Row, Table, markdown_table

_EVERY = 4  # of the cells that are asked: neighbours are alike


@dataclass(frozen=True)
class CellsConfig:
    """What is compared.

    Attributes:
        backbones: exported backbones.
        scene: raster.
        labels: raster of class indices of the same size; 255 is unknown.
        tops: first rows of the areas. lefts: first columns.
        side: pixels of an area, a multiple of the backbones' strides.
    """

    backbones: tuple[str, ...]
    scene: Path = option()
    labels: Path = option()
    tops: tuple[int, ...] = (1024, 2560)
    lefts: tuple[int, ...] = (0, 1024, 2048, 3072)
    side: Annotated[int, at_least(1)] = 512


@command(CellsConfig)
def main(config: CellsConfig) -> None:
    """Print the accuracy of each backbone and the share of the most frequent class."""
    rows = []
    for name in config.backbones:
        found, truth = _cells(name, config)
        labelled = [n for n, at in enumerate(_places(config)) if sum(at) % 2 == 0]
        asked = [n for n in range(len(found)) if n not in labelled]
        bank, classes = _known([found[n] for n in labelled], [truth[n] for n in labelled])
        queries, wanted = _known(
            [found[n][::_EVERY] for n in asked], [truth[n][::_EVERY] for n in asked]
        )
        accuracy = 100 * knn_accuracy(bank, classes, queries, wanted)
        common = 100 * float(wanted.bincount().max()) / len(wanted)
        rows.append(
            Row(name, (f"{accuracy:.1f}", f"{common:.1f}", f"{len(bank)}", f"{len(wanted)}"))
        )
    head = ("backbone", "accuracy, %", "most frequent class, %", "labelled", "asked")
    print(markdown_table(Table(head, tuple(rows)), aligned=True))


def _places(config: CellsConfig) -> list[tuple[int, int]]:
    """Row and column of every area."""
    return [*product(range(len(config.tops)), range(len(config.lefts)))]


def _cells(name: str, config: CellsConfig) -> tuple[list[Tensor], list[Tensor]]:
    """Embeddings ``(N, D)`` and classes ``(N,)``, -1 where unknown, of the cells of each area."""
    found, truth = [], []
    with one_line_errors(str(config.scene)), opened(config.scene) as file:
        model = EmbeddingModel(load_backbone(name, in_chans=file.count))
        with one_line_errors(str(config.labels)), opened(config.labels) as labels:
            if file.shape != labels.shape:
                raise ValueError(f"{config.labels} has another size than {config.scene}")
            ends = max(config.tops) + config.side, max(config.lefts) + config.side
            if ends[0] > file.height or ends[1] > file.width:
                raise ValueError(f"--tops, --lefts and --side leave {config.scene}: lower them")
            for row, column in _places(config):
                window = rasterio_module().windows.Window(
                    config.lefts[column], config.tops[row], config.side, config.side
                )
                with torch.inference_mode():
                    pixels = torch.from_numpy(file.read(window=window))
                    found.append(model(pixels[None])[0].flatten(1).T.float())
                truth.append(_majority(torch.from_numpy(labels.read(1, window=window)), model.cell))
    return found, truth


def _majority(labels: Tensor, cell: int) -> Tensor:
    """The class that most known pixels of each cell have, -1 where none is known."""
    cells = labels.long().unfold(0, cell, cell).unfold(1, cell, cell).flatten(2).flatten(0, 1)
    counts = torch.zeros(len(cells), 256).scatter_add_(1, cells, torch.ones(cells.shape))
    counts[:, 255] = 0
    return torch.where(counts.sum(dim=1) > 0, counts.argmax(dim=1), -1)


def _known(found: Sequence[Tensor], truth: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """All areas in one, without the cells of which no class is known."""
    features, classes = torch.cat([*found]), torch.cat([*truth])
    return features[classes >= 0], classes[classes >= 0]


if __name__ == "__main__":
    main()
