"""Scores of a block of images: the one function that every engine calls."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cmid.checkpoints.weight_files import sha256_of
from cmid.data.leaks import TestImages
from cmid.data.perceptual_hash import grey_canvas
from cmid.data.source import UnreadableImageError
from cmid.data.values import require_8bit
from cmid.evaluation.image_text import fit_square, inference, normalized
from cmid.files import whole_file
from cmid.vision_language.clip.model import CLIP
from cmid.vision_language.clip.storage import load_clip
from cmid.vision_language.data.parquet import import_pyarrow, open_parquet
from cmid.vision_language.data.source import ImageTextSource
from cmid.vision_language.scoring.dual_encoder import DualEncoderScorer
from cmid.vision_language.scoring.scorer import LearnedScorer
from cmid.vision_language.scoring.storage import CONFIG_FILE, load_scorer

UNREADABLE, EMPTY, NO_SCORE, LEAK = "unreadable", "empty text", "no score", "leak"
_FORM = 1  # of the files of blocks; a new one leaves old files unread


@dataclass(frozen=True)
class Block:
    """Consecutive images of a source; ``name`` says all that its scores depend on."""

    source: int
    start: int
    stop: int
    name: str

    def file(self, folder: Path) -> Path:
        return folder / f"{self.name}.parquet"


@dataclass(frozen=True)
class Work:
    """What a worker has to know.

    Attributes:
        sources: what to score.
        scorer, embedder: where they are; embeddings are kept if there is an embedder.
        tests: what must not be kept.
        folder: where files of blocks go.
        batch_size: pairs at a time.
        device: of torch.
    """

    sources: tuple[ImageTextSource, ...]
    scorer: str
    embedder: str | None
    tests: TestImages | None
    folder: Path
    batch_size: int
    device: str

    def blocks(self, size: int) -> list[Block]:
        """Blocks of ``size`` images that cover all sources, in order."""
        about = [_FORM, weights_digest(self.scorer), self.batch_size]
        about += [self.embedder and weights_digest(self.embedder)]
        about += [self.tests and self.tests.digest]
        made = []
        for number, source in enumerate(self.sources):
            known = repr([*about, source.digest])
            for start in range(0, len(source), size):
                stop = min(start + size, len(source))
                name = hashlib.sha256(f"{known} {start} {stop}".encode()).hexdigest()[:32]
                made.append(Block(number, start, stop, name))
        return made


class BlockScorer:
    """Scores blocks and writes their files; models are loaded once.

    Raises:
        FileNotFoundError, ModuleNotFoundError, ValueError: as `load_scorer` and `load_clip`.
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        self.scorer = open_scorer(work.scorer).to(work.device).eval()
        clip = getattr(self.scorer, "clip", None)
        self.min_size = None if clip is None else (max(clip.size, 128),) * 2
        self.embedder: CLIP | None = None
        if work.embedder is not None:
            own = clip if work.embedder == work.scorer else None
            self.embedder = own or open_embedder(work.embedder).to(work.device).eval()

    def write(self, block: Block) -> int:
        """Write the file of a block, whole or not at all; its number of pairs."""
        parquet = import_pyarrow().parquet
        rows = self.score(block)
        with whole_file(block.file(self.work.folder)) as partial:
            parquet.write_table(rows, partial)
        return len(rows)

    def score(self, block: Block) -> Any:
        """A table of pairs in order: ``id, index, text, words, score, reason, detail, embedding``.

        ``reason`` is empty where nothing is wrong; the embedding stands at an image's first text.
        """
        source = self.work.sources[block.source]
        rows = _Rows(source)
        batch = _Batch()
        for index in range(block.start, block.stop):
            try:
                item = source.read(index, min_size=self.min_size)
                pixels, name = item.image.pixels, item.image.name
                require_8bit(pixels, name, bands=3, error=UnreadableImageError)
            except UnreadableImageError as error:
                rows.add_unreadable(index, str(error))
                continue
            batch.images.append((pixels, len(rows.score), len(item.captions)))
            for number, text in enumerate(item.captions):
                if text.strip():
                    batch.pairs.append((pixels, text, len(rows.score)))
                rows.add(index, number, text, "" if text.strip() else EMPTY)
            if len(batch.pairs) >= self.work.batch_size:
                self._finish(batch, rows)
                batch = _Batch()
        self._finish(batch, rows)
        return rows.table(embedded=self.embedder is not None)

    def _finish(self, batch: _Batch, rows: _Rows) -> None:
        size = self.work.batch_size
        for start in range(0, len(batch.pairs), size):
            images, texts, places = zip(*batch.pairs[start : start + size], strict=True)
            scores = self.scorer.score(images, texts)
            for place, score in zip(places, scores.tolist(), strict=True):
                rows.score[place] = score
                if math.isnan(score):
                    rows.reason[place] = NO_SCORE
        if not batch.images:
            return
        pictures, firsts, counts = zip(*batch.images, strict=True)
        embeddings = None
        if self.embedder is not None:
            embeddings = embed(self.embedder, pictures)
            for place, row in zip(firsts, embeddings.half().numpy(), strict=True):
                rows.embedding[place] = row
        if self.work.tests is not None:
            canvases = torch.stack([grey_canvas(picture) for picture in pictures])
            for leak in self.work.tests.leaks(canvases, embeddings):
                for place in range(firsts[leak.index], firsts[leak.index] + counts[leak.index]):
                    rows.reason[place], rows.detail[place] = LEAK, str(leak)


@dataclass
class _Batch:
    """Images with the places of their rows, and pairs with theirs."""

    images: list[tuple[Tensor, int, int]] = field(default_factory=list)
    pairs: list[tuple[Tensor, str, int]] = field(default_factory=list)


class _Rows:
    """Columns of a block's table, filled as results arrive."""

    def __init__(self, source: ImageTextSource) -> None:
        self.source = source
        self.id: list[str] = []
        self.index: list[int] = []
        self.text: list[int] = []
        self.words: list[int] = []
        self.score: list[float] = []
        self.reason: list[str] = []
        self.detail: list[str] = []
        self.embedding: list[Any] = []

    def add(self, index: int, number: int, text: str, reason: str, detail: str = "") -> None:
        self.id.append(self.source.name(index))
        self.index.append(index)
        self.text.append(number)
        self.words.append(len(text.split()))
        self.score.append(float("nan"))
        self.reason.append(reason)
        self.detail.append(detail)
        self.embedding.append(None)

    def add_unreadable(self, index: int, error: str) -> None:
        try:
            texts = self.source.captions(index)
        except UnreadableImageError:
            texts = ("",)
        for number, text in enumerate(texts):
            self.add(index, number, text, UNREADABLE, error)

    def table(self, *, embedded: bool) -> Any:
        pa = import_pyarrow()
        types = {"id": pa.string(), "index": pa.int64(), "text": pa.int32(), "words": pa.int32()}
        types |= {"score": pa.float32(), "reason": pa.string(), "detail": pa.string()}
        if embedded:
            types["embedding"] = pa.list_(pa.float16())
        arrays = {name: pa.array(getattr(self, name), kind) for name, kind in types.items()}
        return pa.table(arrays)


def is_done(block: Block, folder: Path) -> bool:
    """Whether a block's file is there and whole."""
    try:
        with open_parquet(block.file(folder)):
            return True
    except (FileNotFoundError, ValueError):
        return False


def open_scorer(spec: str) -> LearnedScorer:
    """The scorer of a folder; of a CLIP, the score is its scaled cosine."""
    if (Path(spec) / CONFIG_FILE).is_file():
        return load_scorer(spec)
    return DualEncoderScorer(load_clip(spec))


def open_embedder(spec: str) -> CLIP:
    """The CLIP of a folder, of a tag, or within a scorer.

    Raises:
        ValueError: a scorer without a CLIP.
    """
    scorer = open_scorer(spec)
    if not isinstance(scorer, DualEncoderScorer):
        raise ValueError(f"{spec} has no CLIP whose embeddings compare images")
    return scorer.clip


def weights_digest(spec: str) -> str:
    """Hash of a model's files; of a tag of open_clip, of the tag."""
    digest = hashlib.sha256()
    files = [f for f in sorted(Path(spec).rglob("*")) if f.suffix in (".json", ".safetensors")]
    for file in files:
        digest.update(f"{file.relative_to(spec)} {sha256_of(file)}\n".encode())
    return digest.hexdigest() if files else hashlib.sha256(spec.encode()).hexdigest()


def embed(clip: CLIP, pictures: Sequence[Tensor]) -> Tensor:
    """``(B, E)`` embeddings of length 1 of images ``(3, H, W)``, on the CPU."""
    squares = torch.stack([fit_square(picture, clip.size) for picture in pictures])
    with inference(clip):
        return normalized(clip.encode_images(squares.to(clip.logit_scale.device)).pooled).cpu()
