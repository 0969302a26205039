from __future__ import annotations

from pathlib import Path

from cmid.reporting import Report, Row, Section, Table, markdown_table, write_report

TABLE = Table(
    ("model", "kNN", "mIoU"),
    (Row("a", ("0.5", "10"), frozenset({0})), Row("<b>", ("0.4", "20"), frozenset({1}))),
)


def test_the_best_cells_are_bold_and_numbers_stand_at_the_right() -> None:
    assert markdown_table(TABLE).splitlines() == [
        "| model | kNN | mIoU |",
        "| --- | ---: | ---: |",
        "| a | **0.5** | 10 |",
        "| <b> | 0.4 | **20** |",
    ]


def test_columns_line_up_for_terminals() -> None:
    lines = markdown_table(TABLE, aligned=True).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1] == "| ----- | ------- | ------ |"


def test_a_report_holds_everything_in_both_forms(tmp_path: Path) -> None:
    sections = [
        Section("", tables=[TABLE]),
        Section("Maps", ["two images"], [TABLE, TABLE], [("one", "pictures/1.png")]),
    ]
    report = Report("Title", "python x.py", sections, ["digest 1"], ["<gone>"], "3 evaluations")
    write_report(tmp_path, report)
    assert (
        (tmp_path / "report.md").read_text()
        == f"""\
# Title

    python x.py

- digest 1

**Left out: 1 of 3 evaluations.**

- <gone>

{markdown_table(TABLE)}

## Maps

- two images

{markdown_table(TABLE)}

{markdown_table(TABLE)}

![one](pictures/1.png)

one
"""
    )
    page = (tmp_path / "report.html").read_text()
    assert page.count("<table>") == page.count("</table>") == 3
    assert page.count("<details>") == page.count("</details>") == 1
    assert page.count('<td class="number best">0.5</td>') == 3
    assert page.count('src="pictures/1.png"') == 1
    assert "font:" in page.partition("</style>")[0]
    for text in ("&lt;gone&gt;", "&lt;b&gt;", "Left out: 1 of 3 evaluations."):
        assert text in page
    assert "<b>" not in page


def test_a_report_without_facts_begins_with_its_table(tmp_path: Path) -> None:
    write_report(tmp_path, Report("T", "c", [Section("", tables=[TABLE])]))
    text = f"# T\n\n    c\n\n{markdown_table(TABLE)}\n"
    assert (tmp_path / "report.md").read_text() == text
