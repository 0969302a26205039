"""From a path to the source that reads images and texts from it."""

from __future__ import annotations

import json
import os
from glob import has_magic
from pathlib import Path
from typing import Any

from cmid.data.text_files import json_lines
from cmid.vision_language.data.conversations import ConversationTexts, is_conversation
from cmid.vision_language.data.problems import OnError, load_json
from cmid.vision_language.data.source import ImageTextSource

ACCEPTED = (
    "a folder of images with .txt files beside them, a .csv, .tsv or .jsonl table, .json of"
    " MGRS-200k, of COCO's or of Karpathy's form, conversations of LLaVA's form (.json,"
    " .jsonl), .tar shards (also 'name-{000..009}.tar'),"
    " .parquet (a file or a folder of them), or 'scenes'"
)


def open_texts(
    path: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    split: str | None = None,
    caption_column: str | None = None,
    on_error: OnError = "error",
) -> ImageTextSource:
    """Open images with texts by their path: `ACCEPTED` says what there is.

    Args:
        path: what to open; ``scenes`` are generated ones, ``scenes:500`` so many.
        root: folder that paths in a file start from; by default that of the file.
        split: part to take, of files that tell splits.
        caption_column: column of a table or of parquet.
        on_error: what a faulty annotation does: ``error`` or ``skip`` (counted, reported).

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: nothing reads this path, or one of the options has no meaning for it.
    """
    text = os.fspath(path)
    if text.partition(":")[0] == "scenes" and not Path(text).exists():
        return _scenes(text)
    if not has_magic(text) and "{" not in text and not Path(text).exists():
        raise FileNotFoundError(f"{text} does not exist")
    given = {"root": root, "split": split, "caption_column": caption_column}
    options = {name: value for name, value in given.items() if value is not None}
    kind, known = _kind_of(text)
    surplus = options.keys() - known
    if surplus:
        raise ValueError(f"{text} has no {' or '.join(sorted(surplus))} to choose: leave it out")
    if "on_error" in known:
        options["on_error"] = on_error
    return kind(text, **options)


def _kind_of(text: str) -> tuple[Any, set[str]]:
    """Class of a source, and the options it takes; imported where needed."""
    ending = Path(text).suffix.lower()
    if ending == ".tar":
        from cmid.vision_language.data.shards import CaptionShards

        return CaptionShards, set()
    if ending == ".parquet" or (Path(text).is_dir() and any(Path(text).glob("*.parquet"))):
        from cmid.vision_language.data.parquet import CaptionParquet

        return CaptionParquet, {"root", "caption_column"}
    if Path(text).is_dir():
        from cmid.vision_language.data.folder import CaptionFolder

        return CaptionFolder, {"on_error"}
    if ending == ".jsonl" and _first_is_conversation(Path(text)):
        return _conversations()
    if ending in (".csv", ".tsv", ".jsonl", ".ndjson"):
        from cmid.vision_language.data.captions import CaptionTable

        return CaptionTable, {"root", "split", "caption_column", "on_error"}
    if ending == ".json":
        return _kind_of_json(Path(text))
    raise ValueError(f"cannot open {text}: give {ACCEPTED}")


def _kind_of_json(path: Path) -> tuple[Any, set[str]]:
    content = load_json(path)
    rows = content.get("data") if isinstance(content, dict) else content
    if isinstance(rows, list) and rows and is_conversation(rows[0]):
        return _conversations()
    if isinstance(content, list):
        from cmid.vision_language.data.region_texts import RegionTexts

        return RegionTexts, {"root", "on_error"}
    if isinstance(content, dict) and "annotations" in content:
        from cmid.vision_language.data.coco import CocoRegions

        return CocoRegions, {"root", "on_error"}
    from cmid.vision_language.data.captions import KarpathyCaptions

    return KarpathyCaptions, {"root", "split", "on_error"}


def _first_is_conversation(path: Path) -> bool:
    """Whether lines of JSON begin with a conversation; a damaged line is for others to tell."""
    for _, line in json_lines(path):
        try:
            return is_conversation(json.loads(line))
        except ValueError:
            return False
    return False


def _conversations() -> tuple[Any, set[str]]:
    return ConversationTexts, {"root", "on_error"}


def _scenes(text: str) -> ImageTextSource:
    from cmid.vision_language.data.scenes import SceneTexts

    count = text.partition(":")[2] or "4000"
    if not count.isdecimal():
        raise ValueError(f"{text}: write scenes:N, N scenes")
    return SceneTexts(int(count))
