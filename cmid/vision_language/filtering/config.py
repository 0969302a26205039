"""What a filter is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cmid.options import at_least, option


@dataclass(frozen=True)
class SourceConfig:
    """The data, and how it is opened: training has to open it likewise.

    Attributes:
        data: folder of images with .txt files, .csv, .tsv, .jsonl or .json (MGRS-200k, COCO,
            Karpathy, conversations of LLaVA's form), .tar shards, .parquet, or scenes:N; several
            are filtered together.
        root: folder that paths in a file start from (default: that of the file).
        split: part to take of files that tell splits.
        caption_column: column of the captions in a table or in parquet.
        on_error: a faulty annotation: stop, or count and leave out. Images that cannot be read are
            listed in the selection in any case.
    """

    data: tuple[str, ...]
    root: Path | None = option(None, metavar="DIR")
    split: str | None = None
    caption_column: str | None = None
    on_error: Literal["error", "skip"] = "error"


@dataclass(frozen=True)
class ChoiceConfig:
    """What is kept.

    Attributes:
        keep: share of the pairs to keep, in (0, 1]; one for all DATA, or one for each.
        per_source: rank the pairs of each DATA by themselves: scores of different prompts and
            sources need not compare. More than one --keep does so, too.
        debias_length: rank what a regression of the score on the number of words does not explain.
        min_score: drop what scores less.
        min_words: drop shorter texts.
        duplicates: of images whose embeddings have a greater cosine (or are linked by a chain of
            such), keep the one with the best score; 0.95 and more for copies.
    """

    keep: tuple[float, ...] = (0.3,)
    per_source: bool = False
    debias_length: bool = False
    min_score: float | None = None
    min_words: Annotated[int, at_least(1)] = 1
    duplicates: Annotated[float, at_least(0, 1)] | None = option(None, metavar="COSINE")

    def __post_init__(self) -> None:
        if not all(0 < share <= 1 for share in self.keep):
            raise ValueError(f"--keep {' '.join(map(str, self.keep))} is no share in (0, 1]")

    @property
    def by_source(self) -> bool:
        return self.per_source or len(self.keep) > 1


@dataclass(frozen=True)
class ScoringConfig:
    """How the scores are computed.

    Attributes:
        scorer: folder of a scorer; that of a CLIP, or a tag of open_clip such as
            ViT-B-32:openai, scores by cosine.
        test_sets: images to look for in the data, cropped, turned or encoded again: folders, lists
            or shards of images. Copies are named and dropped.
        embedder: CLIP whose embeddings find duplicates and neighbours of test images (default: that
            of the scorer).
        batch_size: pairs at a time.
        block_size: images that are scored, or scored again after an interruption, as one.
        device: cpu, cuda, ... (default: a GPU where there is one).
    """

    scorer: str = option(metavar="DIR")
    test_sets: tuple[str, ...] = option((), metavar="DATA")
    embedder: str | None = option(None, metavar="CLIP")
    batch_size: Annotated[int, at_least(1)] = 64
    block_size: Annotated[int, at_least(1)] = 512
    device: str | None = None


@dataclass(frozen=True)
class EngineConfig:
    """Where the work is done, and where its results go.

    Attributes:
        out: the selection, a .parquet file; beside it are a folder of blocks, with which an
            interrupted run goes on, and one with the report.
        engine: this process, or Ray.
        address: Ray cluster to join (auto, ray://HOST:10001, ...); by default one is started here.
        workers: actors of Ray.
        gpus: GPUs an actor has; a fraction shares one.
    """

    out: Path = option(metavar="FILE")
    engine: Literal["local", "ray"] = "local"
    address: str | None = None
    workers: Annotated[int, at_least(1)] = 1
    gpus: Annotated[float, at_least(0)] = 0.0

    def __post_init__(self) -> None:
        if self.out.suffix != ".parquet":
            raise ValueError(f"--out {self.out} does not end in .parquet")
        if self.engine == "local" and (self.address or self.workers > 1 or self.gpus):
            raise ValueError("--address, --workers and --gpus are of --engine ray: name that, too")

    @property
    def blocks(self) -> Path:
        return self.out.with_name(f"{self.out.stem}_blocks")

    @property
    def report(self) -> Path:
        return self.out.with_name(f"{self.out.stem}_report")
