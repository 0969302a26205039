"""Text of users: UTF-8, or one line that names the file."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
from PIL import Image as PillowImage

from benchmarks.change_detection.files import find_pairs
from benchmarks.detection.coco import check_coco
from benchmarks.vision_language.data import open_labelled
from cmid.data import ChannelStatistics, HDF5Images, ImageList, TarShards
from cmid.data.dota import read_objects
from cmid.data.text_files import json_lines, read_json, read_text, text_lines
from cmid.evaluation import read_multilabels
from cmid.vision_language.data import CaptionTable, CocoRegions, KarpathyCaptions, RegionTexts
from cmid.vision_language.prompts.class_names import named_classes
from cmid.vision_language.prompts.templates import read_templates
from cmid.vision_language.prompts.vocabularies import read_vocabulary

CODES = ("latin-1", "gbk", "utf-16", "utf-16-le")
TEXT = {"latin-1": "café", "gbk": "港口", "utf-16": "x", "utf-16-le": "x"}


def encoded(text: str, code: str) -> bytes:
    """The text with a word that shows the encoding in the place of WORD."""
    return text.replace("WORD", TEXT[code]).encode(code)


def picture(folder: Path, name: str = "a.png") -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    PillowImage.new("RGB", (8, 8)).save(folder / name)
    return folder / name


def pairs(path: Path) -> Any:
    return find_pairs(path.parent, names=path)


def regions(path: Path) -> Any:
    return check_coco(path, path.parent, classes=("ship",))


READERS: list[tuple[Callable[[Path], Any], str, str]] = [
    (ImageList, "l.csv", "path,label\na.png,WORD\n"),
    (ImageList, "l.txt", "a.png WORD\n"),
    (CaptionTable, "c.csv", "filepath,title\na.png,WORD\n"),
    (CaptionTable, "c.tsv", "filepath\ttitle\na.png\tWORD\n"),
    (CaptionTable, "c.jsonl", '{"image": "a.png", "caption": "WORD"}\n'),
    (KarpathyCaptions, "k.json", '{"images": [{"filename": "WORD"}]}'),
    (RegionTexts, "r.json", '[{"global_filepath": "WORD"}]'),
    (CocoRegions, "o.json", '{"images": [{"file_name": "WORD"}]}'),
    (regions, "o.json", '{"images": [{"file_name": "WORD"}]}'),
    (read_objects, "d.txt", "imagesource:WORD\n1 1 9 1 9 9 1 9 ship 0\n"),
    (lambda path: named_classes(["a"], str(path)), "n.txt", "WORD\n"),
    (lambda path: read_templates(str(path)), "t.txt", "WORD {}\n"),
    (lambda path: read_vocabulary(str(path)), "v.txt", "road\nWORD\n"),
    (lambda path: read_multilabels(path, ["a.png"]), "m.csv", "image,labels\na.png,WORD\n"),
    (ChannelStatistics.from_json, "s.json", '{"WORD": 1}'),
    (pairs, "list.txt", "WORD\n"),
]


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("number", range(len(READERS)))
def test_other_encodings_are_named_with_the_remedy(tmp_path: Path, code: str, number: int) -> None:
    read, name, text = READERS[number]
    for folder in ("A", "B", "label"):
        picture(tmp_path / folder)
    picture(tmp_path)
    (tmp_path / name).write_bytes(encoded(text, code))
    with pytest.raises(ValueError, match="save it as UTF-8") as caught:
        read(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("code", ["latin-1", "gbk", "utf-16"])
def test_labels_and_captions_of_shards_are_named(tmp_path: Path, code: str) -> None:
    png, word = picture(tmp_path).read_bytes(), encoded("WORD", code)
    for key in ("cls", "txt"):
        with tarfile.open(tmp_path / f"{key}.tar", "w") as archive:
            for name, data in (("1.png", png), (f"1.{key}", word)):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    with pytest.raises(ValueError, match=r"cls\.tar:1\.cls.* UTF-8"):
        TarShards(tmp_path / "cls.tar")
    source = TarShards(tmp_path / "txt.tar", text_keys=["txt"])
    with pytest.raises(RuntimeError, match=r"txt\.tar:1: .*save it as UTF-8"):
        source.read_text(0)


def test_labels_of_hdf5_are_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["images"] = [[[[0] * 3] * 4] * 4] * 2
        file.create_dataset("labels", data=["café".encode("latin-1"), b"x"])
    with pytest.raises(ValueError, match=r"x\.h5: labels 'labels' are not UTF-8"):
        HDF5Images(tmp_path / "x.h5", labels="labels")


@pytest.mark.parametrize("number", range(len(READERS)))
def test_the_mark_of_utf_8_changes_nothing(tmp_path: Path, number: int) -> None:
    read, name, text = READERS[number]
    picture(tmp_path)
    outcomes = []
    for code in ("utf-8", "utf-8-sig"):
        (tmp_path / name).write_text(text.replace("WORD", "a"), encoding=code)
        try:
            read(tmp_path / name)
            outcomes.append("read")
        except (ValueError, FileNotFoundError) as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


def test_the_line_of_a_foreign_byte_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(b"one\ntwo\nthr\xe9\xe9\nfour\n")
    for read in (read_text, lambda p: list(text_lines(p))):
        with pytest.raises(ValueError, match=r"x\.txt, line 3: byte 0xe9 is not UTF-8"):
            read(path)
    path.write_bytes(b"one\ntw\0o\n")
    with pytest.raises(ValueError, match=r"x\.txt, line 2: a null byte"):
        list(text_lines(path))


def test_all_line_ends_divide_and_no_other_character(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes("a\r\nb\u2028c\rd\n\ne".encode())
    assert list(text_lines(path)) == ["a\r\n", "b\u2028c\r", "d\n", "\n", "e"]
    assert list(json_lines(path))[2] == (3, "d\n")


def test_errors_of_json_tell_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"a": 1,\n"b": }\n')
    with pytest.raises(ValueError, match=r"x\.json is not JSON \(.* in line 2, column 6\)"):
        read_json(path)
    path.write_text(" \n")
    with pytest.raises(ValueError, match=r"x\.json is not JSON \(it is empty\)"):
        read_json(path)
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"x\.json is not JSON .*nested too deep"):
        read_json(path)
    (tmp_path / "s.jsonl").write_text('{"image": "a.png"}\n{"image"\n')
    picture(tmp_path, "x/a.png"), picture(tmp_path, "y/a.png")
    with pytest.raises(ValueError, match=r"s\.jsonl, line 2 is not JSON"):
        open_labelled(str(tmp_path), split_file=str(tmp_path / "s.jsonl"))
    (tmp_path / "s.jsonl").write_text('{"image": "a.png"}\n[]\n')
    with pytest.raises(ValueError, match=r"s\.jsonl, line 2 has no image"):
        open_labelled(str(tmp_path), split_file=str(tmp_path / "s.jsonl"))
