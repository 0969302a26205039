"""The benchmark of places: rectangles and their boxes, and its command."""

from __future__ import annotations

import sys

import numpy as np
import pytest

pytest.importorskip("transformers", reason="extra multimodal is not installed")

from benchmarks.multimodal import places


def test_the_answer_is_the_box_of_the_bright_rectangle() -> None:
    seen = set()
    for index in range(20):
        example = places.Rectangles(20).read(index)
        (conversation,) = example.conversations
        answer = str(conversation.turns[0].answer)
        rows, columns = np.nonzero(example.images[0][0].numpy() > 180)
        (corners,) = places.Rectangles.boxes.parse(answer) or [None]
        true = np.array([[columns.min(), rows.min()], [columns.max() + 1, rows.max() + 1]]) / 64
        np.testing.assert_allclose([corners.min(axis=0), corners.max(axis=0)], true, atol=0.01)
        seen.add(answer)
    assert len(seen) == 20
    again = places.Rectangles(1, first=3).read(0)
    assert again.conversations[0].turns == places.Rectangles(20).read(3).conversations[0].turns


@pytest.mark.slow
def test_each_start_is_trained_and_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--deviations", "0.02", "0.09", "--steps", "2", "--questions", "2"]
    monkeypatch.setattr(sys, "argv", ["places", *given])
    places.main()
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if "|" in line]
    assert [cell.strip() for cell in rows[0][1:-1]] == [
        *("deviation", "loss at 1", "loss at 2", "exact boxes")
    ]
    assert [row[1].strip() for row in rows[-2:]] == ["0.020", "0.090"]
    assert all(0 <= float(row[-2]) <= 1 for row in rows[-2:])
