"""Tables of users, with all the quotes that texts have."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image as PillowImage

from cmid.data import ImageList
from cmid.data.tables import Table
from cmid.vision_language.data import CaptionTable

# A row with quotes that follow no rule, in a file divided by tabs and by commas.
QUOTES = [
    '"Old" is written on the roof',
    '"a quote that never ends',
    'a 5" pipe',
    'the end "',
    '"',
    'he said \\"hi\\"',
    '"a" "b"',
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(6):
        PillowImage.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
    return tmp_path


def table(folder: Path, rows: list[str], *, separator: str, name: str = "c.tsv") -> Path:
    path = folder / name
    lines = [f"filepath{separator}title", *rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize("separator", ["\t", ","])
@pytest.mark.parametrize("text", QUOTES)
@pytest.mark.parametrize("place", [0, 2, 5])
def test_an_odd_quote_swallows_no_row(folder: Path, separator: str, text: str, place: int) -> None:
    texts = [f"scene {number}" for number in range(6)]
    texts[place] = text
    rows = [f"{number}.png{separator}{text}" for number, text in enumerate(texts)]
    source = CaptionTable(table(folder, rows, separator=separator))
    assert [source.captions(number)[0] for number in range(len(source))] == [
        text.strip() for text in texts
    ]


@pytest.mark.parametrize("separator", ["\t", ","])
def test_two_odd_quotes_do_not_join(folder: Path, separator: str) -> None:
    texts = ["a", '"open', "b", 'closed"', '"again', "c"]
    rows = [f"{number}.png{separator}{text}" for number, text in enumerate(texts)]
    source = CaptionTable(table(folder, rows, separator=separator))
    assert [source.captions(number)[0] for number in range(6)] == texts


@pytest.mark.parametrize("separator", ["\t", ","])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_quoted_fields_of_several_lines_are_one_caption(
    folder: Path, separator: str, end: str
) -> None:
    rows = [
        f"0.png{separator}plain",
        f'1.png{separator}"two lines,{end}with ""quotes"", and\tall"',
        f"2.png{separator}last",
    ]
    path = folder / "c.csv"
    path.write_bytes(end.join([f"filepath{separator}title", *rows, ""]).encode())
    source = CaptionTable(path)
    assert len(source) == 3
    assert source.captions(1) == (f'two lines,{end}with "quotes", and\tall',)


def test_a_row_that_cannot_be_read_is_named_by_its_own_line(folder: Path) -> None:
    rows = ["0.png,plain", '1.png,"a quote, and a comma', "2.png,x", "3.png,y"]
    path = table(folder, rows, separator=",", name="c.csv")
    with pytest.raises(ValueError, match=r"c\.csv: line 3: its quotes follow no rule"):
        CaptionTable(path)
    source = CaptionTable(path, on_error="skip")
    assert len(source) == 3
    assert len(source.skipped) == 1


def test_ragged_rows_are_named(folder: Path) -> None:
    path = folder / "c.csv"
    path.write_text("filepath,title,split\n0.png,a,train\n1.png\n2.png,b,train,more\n3.png,c,x,,\n")
    with pytest.raises(ValueError, match=r"c\.csv: line 3: it has 1 fields, the header 3"):
        CaptionTable(path)
    source = CaptionTable(path, on_error="skip")
    assert len(source) == 2  # empty columns at the end of a row are none
    assert "line 4: it has more fields than the header" in source.skipped[1]


def test_a_column_that_occurs_twice_is_named(folder: Path) -> None:
    (folder / "c.csv").write_text("filepath,title,title\n0.png,a,b\n")
    with pytest.raises(ValueError, match=r"c\.csv has 2 columns 'title': rename all but one"):
        CaptionTable(folder / "c.csv")
    (folder / "c.csv").write_text("filepath,title,x,x,,\n0.png,a,1,2,,\n")
    assert CaptionTable(folder / "c.csv").captions(0) == ("a",)
    (folder / "l.csv").write_text("path,label,Label\n0.png,a,b\n")
    with pytest.raises(ValueError, match=r"l\.csv has 2 columns 'label'"):
        ImageList(folder / "l.csv")


def test_an_empty_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("\n")
    with pytest.raises(ValueError, match=r"c\.csv is empty: it needs a header"):
        Table(tmp_path / "c.csv")


@pytest.mark.parametrize(
    "field",
    [
        '"[""a ship"", ""two, ships""]"',
        "\"['a ship', 'two, ships']\"",
        "\"('a ship', 'two, ships')\"",
    ],
)
def test_a_list_in_one_field_is_several_captions(folder: Path, field: str) -> None:
    path = table(folder, [f"0.png,{field}", "1.png,[blurred]"], separator=",", name="c.csv")
    source = CaptionTable(path)
    assert source.captions(0) == ("a ship", "two, ships")
    assert source.captions(1) == ("[blurred]",)


@pytest.mark.parametrize(
    "field", ["\"['a ship' 'two ships']\"", "\"['a ship', 'two]\"", "\"[{'raw': 'a ship'}]\""]
)
def test_a_list_that_is_none_is_refused(folder: Path, field: str) -> None:
    path = table(folder, [f"0.png,{field}"], separator=",", name="c.csv")
    with pytest.raises(ValueError, match=r"c\.csv: line 2: its .*"):
        CaptionTable(path)


def test_lists_of_images_read_quotes_alike(folder: Path) -> None:
    rows = ["path,label", '0.png,"x, y"', '1.png,"old" roof', "2.png,z"]
    (folder / "l.csv").write_text("\n".join(rows))
    source = ImageList(folder / "l.csv")
    assert source.classes == ('"old" roof', "x, y", "z")
    (folder / "l.csv").write_text("path,label\n0.png\n")
    with pytest.raises(ValueError, match=r"l\.csv: line 2: it has 1 fields, the header 2"):
        ImageList(folder / "l.csv")
