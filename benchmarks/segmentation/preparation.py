"""From published archives to ``img_dir`` and ``ann_dir``: cut, relabelled, counted, hashed.

Every finished image adds a line to ``OUT/finished.jsonl``. A second call checks the tiles of those
lines against the disk, makes what is missing or different, and ends with the same
``OUT/data.json``: pixels of each label, and one SHA-256 a split. Hashes are of names and pixels,
not of files, as encoders differ between versions. Who has the same hash has the same data.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from tqdm import tqdm

from benchmarks.segmentation.colours import Unknown, labels_of_colours
from benchmarks.segmentation.raw_data import (
    RAW_DATA,
    Labels,
    Pair,
    RawData,
    find_pairs,
    usual_division,
)
from cmid.data.decoding import opened_picture
from cmid.data.masks import read_labels, same_labels
from cmid.data.raster_reading import read_raster
from cmid.data.source import UnreadableImageError
from cmid.data.values import require_8bit
from cmid.data.windows import Window, cut, tile
from cmid.data.writing import write_image
from cmid.files import write_json, write_text

Record = dict[str, Any]


@dataclass(frozen=True)
class PreparationConfig:
    """What is made of a dataset.

    Attributes:
        dataset: a key of `RAW_DATA`.
        size, stride: tile side and distance in pixels; None takes the usual ones.
        labels: ISPRS masks, ``eroded`` (as mmsegmentation's tables) or ``full``.
        composite: Potsdam bands, ``RGB``, ``IRRG`` or ``RGBIR`` (then tiles are GeoTIFF).
        unknown: what becomes of colours that no class has: ``error``, ``ignore``, ``nearest``.
        ignore: classes whose pixels are ignored.
        without: images that are left out.
    """

    dataset: str
    size: int | None = None
    stride: int | None = None
    labels: Labels = "eroded"
    composite: str = "RGB"
    unknown: Unknown = "error"
    ignore: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = [name for label, name in self.raw.labels.items() if label != self.raw.ignored]
        wrong = [name for name in self.ignore if name not in known]
        if wrong:
            raise ValueError(f"{self.dataset} has no class {wrong[0]}: it has {', '.join(known)}")
        if self.labels != "eroded" and not usual_division(self.dataset):
            raise ValueError(f"{self.dataset} has one kind of masks: leave out labels")
        if self.composite != "RGB" and self.dataset != "potsdam":
            raise ValueError(f"{self.dataset} has one kind of images: leave out composite")
        if self.raw.size is None and (self.size or self.stride):
            raise ValueError(f"images of {self.dataset} are not cut: leave out size and stride")
        if min(self.size or 1, self.stride or 1) < 1:
            raise ValueError(f"size {self.size} and stride {self.stride} must be at least 1")

    @property
    def raw(self) -> RawData:
        return RAW_DATA[self.dataset]


def prepare(
    job: PreparationConfig,
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    workers: int,
) -> Record:
    """Write ``out/img_dir`` and ``out/ann_dir``; returns what ``out/data.json`` says.

    Args:
        source: folder with the unpacked archives.
        out: an empty folder, or one that the same job has begun.
        workers: processes.

    Raises:
        FileNotFoundError: images or masks are missing.
        ValueError: ``out`` was made by another job; an image and its mask differ in size; a colour
            or label that no class has (names file, value and number of pixels).
    """
    out = Path(out)
    pairs = find_pairs(
        job.dataset,
        Path(source),
        labels=job.labels,
        composite=job.composite,
        without=job.without,
    )
    finished = _finished(out, job)
    records: list[Record] = []
    journal = out / "finished.jsonl"
    with ProcessPoolExecutor(workers) as pool, journal.open("a") as lines:
        tasks = [pool.submit(_make, job, pair, out, finished.get(_key(pair))) for pair in pairs]
        try:
            for task in tqdm(as_completed(tasks), total=len(tasks), desc=job.dataset, unit="image"):
                record = task.result()
                records.append(record)
                if record != finished.get(record["image"]):
                    lines.write(json.dumps(record) + "\n")
                    lines.flush()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    summary = {"job": asdict(job), "splits": dict(_summaries(job.raw, records))}
    write_json(out / "data.json", summary)
    return summary


def report(job: PreparationConfig, summary: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines: tiles, hashes and the share of each label."""
    usual = (job.size, job.stride) == (None, None) and not job.without
    for split, found in summary["splits"].items():
        line = f"{split:5} {found['images']:5} images, {found['tiles']:6} tiles"
        expected = job.raw.tiles.get(split)
        if usual and expected is not None:
            same = found["tiles"] == expected
            line += " (as published)" if same else f" (published: {expected}: not the same data)"
        yield f"{line}  SHA-256 {found['sha256']}"
        if found["unknown"]:
            yield f"      {found['unknown']} pixels had colours of no class ({job.unknown})"
    splits = [s for s, found in summary["splits"].items() if any(found["pixels"].values())]
    yield f"{'label':>5}  {'class':20}" + "".join(f"{split:>22}" for split in splits)
    for label, name in job.raw.labels.items():
        row = f"{label:5}  {name:20}"
        for split in splits:
            pixels = summary["splits"][split]["pixels"]
            count = pixels.get(str(label), 0)
            row += f"{count:>14,} {100 * count / sum(pixels.values()):6.2f}%"
        yield row
    for split in splits:
        pixels = summary["splits"][split]["pixels"]
        absent = [name for label, name in job.raw.labels.items() if not pixels.get(str(label))]
        absent = [name for name in absent if name != job.raw.labels[job.raw.ignored]]
        if absent:
            yield f"{split:5} has no pixel of {', '.join(absent)}"


def _make(job: PreparationConfig, pair: Pair, out: Path, record: Record | None) -> Record:
    """Write the tiles of an image, unless they are as recorded."""
    if record is not None and _as_recorded(out, record):
        return record
    raw = job.raw
    image = _read_image(pair.image, job)
    mask, unknown = (None, 0) if pair.mask is None else _read_mask(pair.mask, job)
    if mask is not None and mask.shape != image.shape[:2]:
        raise ValueError(
            f"{pair.image} is {image.shape[:2]}, {pair.mask} {mask.shape}: sizes must agree"
        )
    height, width = image.shape[:2]
    size, stride = job.size or raw.size, job.stride or job.size or raw.stride
    windows = [Window(0, 0, height, width)]
    if size is not None and stride is not None:
        windows = tile(height, width, size=size, stride=stride)
    tiles, pixels = {}, Counter[str]()
    ending = ".tif" if image.shape[2] > 3 else ".png"
    for window in windows:
        corners = dict(zip(("x0", "y0", "x1", "y1"), window.box, strict=True))
        name = raw.tile.format(name=pair.name, **corners)
        files = {f"img_dir/{pair.split}/{name}{ending}": cut(image, window, fill=0)}
        if mask is not None:
            labels = cut(mask, window, fill=raw.ignored)
            files[f"ann_dir/{pair.split}/{name}{raw.mask_ending}.png"] = labels
            counts = np.bincount(labels.ravel(), minlength=256)
            pixels.update({str(label): int(counts[label]) for label in np.flatnonzero(counts)})
        for path, array in files.items():
            write_image(out / path, array)
            tiles[path] = _hash(array)
    return {
        "image": _key(pair),
        "split": pair.split,
        "tiles": tiles,
        "pixels": dict(pixels),
        "unknown": unknown,
    }


def _key(pair: Pair) -> str:
    return f"{pair.split}/{pair.name}"


def _read_image(path: Path, job: PreparationConfig) -> NDArray[np.uint8]:
    """``(H, W, C)``."""
    if job.composite == "RGBIR":
        return read_raster(path)[0].transpose(1, 2, 0)
    return _decode(path, "RGB")


def _read_mask(path: Path, job: PreparationConfig) -> tuple[NDArray[np.uint8], int]:
    """``(H, W)`` labels, and how many pixels had a colour of no class."""
    raw, unknown = job.raw, 0
    if raw.colours is None:
        labels = read_labels(path, same_labels(raw.labels))
    else:
        labels, unknown = labels_of_colours(
            _decode(path, "RGB"),
            raw.colours,
            name=str(path),
            unknown=job.unknown,
            ignored=raw.ignored,
        )
    ignored = [label for label, name in raw.labels.items() if name in job.ignore]
    labels[np.isin(labels, ignored)] = raw.ignored
    return labels, unknown


def _decode(path: Path, mode: str | None = None) -> NDArray[np.uint8]:
    try:
        with opened_picture(path) as picture:
            if mode is not None and picture.mode.startswith(("I", "F")):
                require_8bit(np.asarray(picture)[None], str(path))
            # Converting to the own mode would copy a scene for nothing.
            own = mode is None or picture.mode == mode
            return np.array(picture if own else picture.convert(mode))
    except (OSError, SyntaxError, PillowImage.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read ({error}): unpack it again") from error


def _as_recorded(out: Path, record: Record) -> bool:
    """Whether all tiles of an image are on the disk, with the recorded pixels."""
    for name, expected in record["tiles"].items():
        path = out / name
        if not path.is_file():
            return False
        try:
            tif = path.suffix == ".tif"
            array = read_raster(path)[0].transpose(1, 2, 0) if tif else _decode(path)
        except (ValueError, UnreadableImageError):
            return False
        if _hash(array) != expected:
            return False
    return True


def _hash(array: NDArray[np.uint8]) -> str:
    return hashlib.sha256(f"{array.shape}".encode() + array.tobytes()).hexdigest()


def _finished(out: Path, job: PreparationConfig) -> dict[str, Record]:
    """Records of an earlier call, by image; the journal is started, or freed of a cut-off line."""
    journal = out / "finished.jsonl"
    header, records = {"job": json.loads(json.dumps(asdict(job)))}, {}
    if journal.is_file():
        first, *lines = journal.read_text().splitlines()
        if json.loads(first) != header:
            raise ValueError(f"{out} was made with other options ({first}): choose another folder")
        for line in lines:
            try:
                record = json.loads(line)
            except json.JSONDecodeError:  # the last one, if the process was killed
                continue
            records[record["image"]] = record
    elif out.is_dir() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty and not from here: choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    write_text(journal, "".join(json.dumps(r) + "\n" for r in (header, *records.values())))
    return records


def _summaries(raw: RawData, records: Sequence[Record]) -> Iterator[tuple[str, Record]]:
    for split in ("train", "val", "test"):
        own = [record for record in records if record["split"] == split]
        if not own:
            continue
        tiles = {name: value for record in own for name, value in record["tiles"].items()}
        pixels = Counter[str]()
        for record in own:
            pixels.update(record["pixels"])
        lines = "".join(f"{name} {tiles[name]}\n" for name in sorted(tiles))
        yield (
            split,
            {
                "images": len(own),
                "tiles": sum(name.startswith("img_dir") for name in tiles),
                "pixels": {str(label): pixels[str(label)] for label in raw.labels},
                "unknown": sum(record["unknown"] for record in own),
                "sha256": hashlib.sha256(lines.encode()).hexdigest(),
            },
        )
