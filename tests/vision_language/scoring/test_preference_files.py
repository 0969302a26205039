"""Preferences in the published files."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cmid.data.source import UnreadableImageError
from cmid.vision_language.scoring.preference_files import PreferenceFiles

PAIR = {"chosen": "two ships", "rejected": "three ships"}


def picture(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((8, 12, 3), shade, dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def write(folder: Path, entries: Any, *, images: dict[str, int] = {}) -> Path:  # noqa: B006
    (folder / "ships").mkdir()
    for name, shade in images.items():
        (folder / "ships" / name).write_bytes(picture(shade))
    path = folder / "ships.json"
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    return path


def write_parquet(path: Path, rows: list[dict[str, Any]], *, group: int = 2) -> Path:
    pyarrow = pytest.importorskip("pyarrow", reason="extra scoring is not installed")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=group)
    return path


def test_a_question_its_answers_and_its_image_are_read(tmp_path: Path) -> None:
    asked = PAIR | {"question": "Was sieht man? 船", "image_name": "a.png", "kind": "count"}
    asked["rejected"] = ["three ships", "a plane"]  # type: ignore[assignment]
    by_path = PAIR | {"image_path": "ships/b.png"}
    source = PreferenceFiles(write(tmp_path, [asked, by_path], images={"a.png": 7, "b.png": 9}))
    (first,) = source.preferences(0)
    assert first.question == "Was sieht man? 船"
    assert first.candidates == ("two ships", "three ships", "a plane")
    assert [*first.pairs()] == [(0, 1), (0, 2)]  # rejected ones are not compared
    assert first.kind == "count"
    assert [int(source.read(k)[0, 0, 0]) for k in range(2)] == [7, 9]  # type: ignore[index]
    assert source.read(0).shape == (3, 8, 12)  # type: ignore[union-attr]


def test_text_alone_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        source = PreferenceFiles(write(tmp_path, [PAIR]))
    assert source.read(0) is None
    assert "1 of 1 preferences have no image" in caplog.text


FAULTS = {
    "equal": (PAIR | {"rejected": "two ships"}, "'two ships' is chosen and rejected"),
    "empty": (PAIR | {"chosen": " "}, "its chosen is ' ', not a text"),
    "empty rejected": (PAIR | {"rejected": ["three", ""]}, "a text of it is empty"),
    "no rejected": ({"chosen": "two ships"}, "its rejected is None"),
    "missing image": (PAIR | {"image_name": "no.png"}, r"its image .*ships/no\.png does not exist"),
    "not an object": (3, "it is 3, not an object"),
    "ranks": (PAIR | {"ranks": [0]}, "1 ranks, 2 texts"),
    "no order": (PAIR | {"ranks": [0, None]}, "prefers no text"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_entry_stops_or_is_counted_and_named(
    tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    entry, message = FAULTS[fault]
    path = write(tmp_path, [entry, PAIR])
    with pytest.raises(ValueError, match=rf"ships\.json: ships\.json, entry 0: .*{message}"):
        PreferenceFiles(path)
    with caplog.at_level(logging.WARNING):
        source = PreferenceFiles(path, on_error="skip")
    assert (len(source), len(source.skipped)) == (1, 1)
    assert "1 entries skipped" in caplog.text


def test_broken_files_are_named_and_others_still_read(tmp_path: Path) -> None:
    write(tmp_path, '[{"chosen": "two')
    (tmp_path / "other.json").write_text(json.dumps([PAIR]))
    with pytest.raises(ValueError, match=r"ships\.json: it cannot be read"):
        PreferenceFiles(tmp_path)
    assert len(PreferenceFiles(tmp_path, on_error="skip")) == 1
    with pytest.raises(FileNotFoundError, match="no preferences in"):
        PreferenceFiles(tmp_path / "ships")


def test_rows_of_parquet_are_found_in_any_order(tmp_path: Path) -> None:
    text = json.dumps(PAIR | {"question": "How many?"})
    rows = [{"text": text, "image": {"bytes": picture(k), "path": None}} for k in range(5)]
    rows.append({"text": text, "image": {"bytes": None, "path": "ships/b.png"}})
    write(tmp_path, [PAIR], images={"b.png": 200})
    source = PreferenceFiles(write_parquet(tmp_path / "p.parquet", rows))
    assert source.preferences(4)[0].question == "How many?"
    shades = {k: int(source.read(k)[0, 0, 0]) for k in (4, 0, 5, 3, 1)}  # type: ignore[index]
    assert shades == {4: 4, 0: 0, 5: 200, 3: 3, 1: 1}


def test_faults_of_parquet_are_named(tmp_path: Path) -> None:
    image = {"bytes": picture(1), "path": None}
    rows = [{"text": "{", "image": image}, {"text": json.dumps(PAIR), "image": image}]
    path = write_parquet(tmp_path / "p.parquet", rows)
    with pytest.raises(ValueError, match=r"p\.parquet, row 0: its text '\{' is not JSON"):
        PreferenceFiles(path)
    assert len(PreferenceFiles(path, on_error="skip")) == 1
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"p\.parquet: it cannot be read"):
        PreferenceFiles(path)
    write_parquet(path, [{"texts": "x"}])
    with pytest.raises(ValueError, match="it has no column image and no text"):
        PreferenceFiles(path)


def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    row = {"text": json.dumps(PAIR), "image": {"bytes": b"nothing", "path": None}}
    source = PreferenceFiles(write_parquet(tmp_path / "p.parquet", [row]))
    with pytest.raises(UnreadableImageError, match=r"p\.parquet: row 0"):
        source.read(0)
