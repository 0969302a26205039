"""Captioned images in parquet, in folders, and by path."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from cmid.data.source import UnreadableImageError
from cmid.vision_language.data import (
    CaptionFolder,
    CaptionParquet,
    CaptionShards,
    CaptionTable,
    JoinedTexts,
    KarpathyCaptions,
    RegionTexts,
    SceneTexts,
    open_texts,
)
from tests.vision_language.data.test_shards import picture, write_shard

pa = pytest.importorskip("pyarrow", reason="extra scoring is not installed")
import pyarrow.parquet as pq  # noqa: E402


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files of three row groups; bytes, a path, no image, an empty text, a damaged image."""
    (tmp_path / "7.png").write_bytes(picture(7))
    images = [{"bytes": picture(k), "path": f"{k}.png"} for k in range(7)]
    images += [{"bytes": None, "path": "7.png"}, {"bytes": None, "path": None}]
    images += [{"bytes": b"no image", "path": None}]
    texts = [f"fünf Schiffe № {k} 船" for k in range(10)]
    texts[3] = "  "
    pq.write_table(
        pa.table({"image": images[:6], "text": texts[:6]}), tmp_path / "a.parquet", row_group_size=4
    )
    pq.write_table(pa.table({"image": images[6:], "text": texts[6:]}), tmp_path / "b.parquet")
    return tmp_path


def test_rows_of_all_files_are_read_wherever_they_lie(folder: Path) -> None:
    source = pickle.loads(pickle.dumps(CaptionParquet(folder)))
    assert len(source) == 10
    for number in (7, 0, 5, 4, 6, 1, 2):
        assert source[number].image.pixels[0, 0, 0] == number
        assert (
            source[number].captions == source.captions(number) == (f"fünf Schiffe № {number} 船",)
        )
    assert [source.name(k) for k in (0, 5, 6, 9)] == [
        *("a.parquet:0", "a.parquet:5", "b.parquet:0", "b.parquet:3")
    ]
    with pytest.raises(UnreadableImageError, match=r"a.parquet:3: its text is '  '"):
        source.captions(3)
    with pytest.raises(UnreadableImageError, match=r"b.parquet:2: its image holds no image"):
        source.read(8)
    with pytest.raises(UnreadableImageError, match=r"b.parquet:3: not a readable image"):
        source.read(9)


def test_lists_of_captions_and_plain_bytes(tmp_path: Path) -> None:
    table = pa.table({"Image": [picture(3)], "captions": [["one", "", "two"]]})
    pq.write_table(table, tmp_path / "x.parquet")
    source = CaptionParquet(tmp_path / "x.parquet")
    assert source[0].captions == ("one", "two")
    with pytest.raises(ValueError, match=r"x.parquet has none of the columns title, only Image"):
        CaptionParquet(tmp_path / "x.parquet", caption_column="title")


def test_damaged_files_are_named(folder: Path) -> None:
    whole = (folder / "a.parquet").read_bytes()
    (folder / "a.parquet").write_bytes(whole[:-20])
    with pytest.raises(ValueError, match=r"a\.parquet is damaged or no parquet file"):
        CaptionParquet(folder)
    with pytest.raises(FileNotFoundError, match=r"none\.parquet does not exist"):
        open_texts(folder / "none.parquet")
    (folder / "a.parquet").write_bytes(whole[:4] + b"\xff" * 300 + whole[304:])
    source = CaptionParquet(folder)
    with pytest.raises(UnreadableImageError, match=r"a\.parquet:0"):
        source.read(0)


def test_a_folder_of_images_has_its_captions_beside_them(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/b.png").write_bytes(picture(2))
    (tmp_path / "sub/b.txt").write_text("two 船\n\n and more \n", encoding="utf-8")
    (tmp_path / "a.png").write_bytes(picture(1))
    with pytest.raises(ValueError, match=r"a\.png: there is no caption in a\.txt beside it"):
        CaptionFolder(tmp_path)
    source = CaptionFolder(tmp_path, on_error="skip")
    assert [source[k].captions for k in range(len(source))] == [("two 船", "and more")]
    (tmp_path / "a.txt").write_text("one")
    assert CaptionFolder(tmp_path).digest != source.digest


def test_a_path_tells_its_source(folder: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("filepath,title\n7.png,seven\n")
    karpathy = {"filename": "7.png", "split": "val", "sentences": [{"raw": "seven"}]}
    (tmp_path / "k.json").write_text(json.dumps({"images": [karpathy]}))
    regions = [{"global_filepath": "7.png", "global_caption": "seven", "segment": []}]
    (tmp_path / "mgrs.json").write_text(json.dumps(regions))
    write_shard(tmp_path / "x.tar", [("1.png", picture(7)), ("1.txt", b"seven")])
    made = {
        tmp_path: CaptionParquet,
        folder / "a.parquet": CaptionParquet,
        rows: CaptionTable,
        tmp_path / "k.json": KarpathyCaptions,
        tmp_path / "mgrs.json": RegionTexts,
        tmp_path / "x.tar": CaptionShards,
    }
    for path, kind in made.items():
        assert type(open_texts(path)) is kind
    assert isinstance(scenes := open_texts("scenes:3"), SceneTexts)
    assert len(scenes) == 3
    names = {open_texts(path).name(0) for path in made}
    assert {"x.tar:1", "rows.csv:0:7.png", "k.json:0:7.png", "mgrs.json:0:7.png"} <= names
    assert len({open_texts(path).digest for path in made}) >= 4
    with pytest.raises(ValueError, match=r"x\.tar has no split to choose"):
        open_texts(tmp_path / "x.tar", split="train")
    (tmp_path / "mgrs.json").write_text("[{")
    with pytest.raises(ValueError, match=r"mgrs\.json is not JSON"):
        open_texts(tmp_path / "mgrs.json")
    with pytest.raises(ValueError, match=r"cannot open .*7\.png"):
        open_texts(tmp_path / "7.png")


def test_joined_sources_are_read_one_behind_the_other(folder: Path) -> None:
    scenes = SceneTexts(2, size=32)
    joined = JoinedTexts([scenes, CaptionParquet(folder), SceneTexts(1, size=32, seed=9)])
    assert len(joined) == 13
    assert joined.name(1) == "scene/0/1"
    assert joined.name(2) == "a.parquet:0"
    assert joined[3].image.pixels[0, 0, 0] == 1
    assert joined.captions(12) == SceneTexts(1, size=32, seed=9).captions(0)
    assert joined.has_regions
