"""Command lines from dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from cmid.command_line import choose, parse
from cmid.options import at_least, option


@dataclass(frozen=True)
class Shared:
    """What several commands have.

    Attributes:
        out: folder
            to write, 50 % full.
        on_error: what a fault does.
    """

    out: Path = option(metavar="DIR")
    on_error: Literal["error", "skip"] = "error"


@dataclass(frozen=True)
class Job:
    """A job.

    Attributes:
        sources: what is read.
        size: pixels.
        cell: a place.
        quick: or thorough.
        resume: go on.
    """

    sources: tuple[str, ...]
    size: Annotated[int, at_least(16)] | None = None
    shares: tuple[float, ...] = (0.5, 1.0)
    cell: tuple[int, int] | None = None
    quick: bool = False
    resume: str | None = option(None, nargs="?", const="auto")

    def __post_init__(self) -> None:
        if self.quick and self.cell:
            raise ValueError("--quick knows no --cell")


def read(*arguments: str) -> tuple[Any, ...]:
    return parse(Job, Shared, arguments=arguments, verb="job", description="A job.")


def test_fields_become_arguments_of_their_types() -> None:
    job, shared, traceback = read("a", "b", "--out", "x", "--cell", "1", "2", "--resume")
    assert job == Job(("a", "b"), None, (0.5, 1.0), (1, 2), False, "auto")
    assert shared == Shared(out=Path("x"))
    assert not traceback
    job, _, traceback = read("a", "--shares", "1", "--quick", "--out=x", "--traceback")
    assert job == Job(("a",), shares=(1.0,), quick=True)
    assert traceback


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a", "--out", "x", "--size", "3"], "'3' is not a whole number of 16 or more"),
        (["a", "--out", "x", "--shares", "x"], "argument --shares: 'x' is not a number"),
        (["a", "--out", "x", "--on-error", "skip"], "--on-error is spelled --on_error"),
        (["a", "--out", "x", "--quik"], "did you mean --quick?"),
        (["a", "--out", "x", "--on_error", "no"], "invalid choice: 'no'"),
        (["a", "--out", "x", "--quick", "--cell", "1", "2"], "--quick knows no --cell"),
        (["a"], "out"),
    ],
)
def test_what_makes_no_sense_is_one_line_behind_the_usage(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        read(*arguments)
    assert end.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert said in last


def test_help_tells_texts_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read("--help")
    said = " ".join(capsys.readouterr().out.split())
    assert "--out DIR folder to write, 50 % full" in said
    assert "what a fault does (default: error)" in said
    assert "(default: 0.5 1.0)" in said


def test_traceback_may_stand_before_and_behind_a_subcommand() -> None:
    for arguments in (["--traceback", "task", "x"], ["task", "x", "--traceback"]):
        verb, left = choose({"task": "work"}, arguments, verb="job", description="")
        assert (verb, left) == ("task", ["x", "--traceback"])
