"""Which texts survive a flip."""

from __future__ import annotations

import pytest

from cmid.vision_language.data.directions import names_direction


@pytest.mark.parametrize(
    "text",
    [
        "two ships in the upper left",
        "Left: a river",
        "the top-right corner",
        "a lake in the north-western part",
        "southeast of the town",
        "the easternmost building",
        "trees above the road",
        "houses below it",
        "the bottom of the image",
        "a road runs northwards",
        "on the right-hand side",
        "a horizontal runway",
        "vertically parked cars",
        "numbered counter-clockwise",
    ],
)
def test_directions_are_found(text: str) -> None:
    assert names_direction(text)


@pytest.mark.parametrize(
    "text",
    [
        "a residential area seen from above",
        "an overhead view of three planes",
        "a bright field, cultivated",
        "rooftops and laptops",
        "a lake in the middle",
        "the largest storage tank",
        "downtown with wright-angled, copyrighted blocks",
        "the beast of Leftwich at a feast",
    ],
)
def test_other_texts_are_left_alone(text: str) -> None:
    assert not names_direction(text)
