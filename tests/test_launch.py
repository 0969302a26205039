from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cmid.launch import launch

GIVEN: list[list[str]] = []


def command(args: list[str]) -> None:
    GIVEN.append(list(args))
    if "--refuse" in args:
        raise ValueError("no such thing: give another")


def start(*args: str) -> None:
    launch(args, command=f"{__name__}:command", default=Path("default.yaml"), usage="usage: it")


def test_a_configuration_is_given_where_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "GIVEN", [])
    start("--x", "1")
    start("--config", "own.yaml")
    start("--config=own.yaml", "--help_all")
    assert GIVEN == [
        ["--config", "default.yaml", "--x", "1"],
        ["--config", "own.yaml"],
        ["--config=own.yaml", "--help"],
    ]


def test_errors_are_one_line() -> None:
    with pytest.raises(SystemExit) as refusal:
        start("--refuse")
    assert refusal.value.code == "error: no such thing: give another"


def test_help_runs_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "GIVEN", [])
    start("--x", "-h")
    assert capsys.readouterr().out == "usage: it\n"
    assert not GIVEN


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, pathlib; from cmid.launch import launch;"
        "launch(['--help'], command='cmid.pretraining:pretrain', default=pathlib.Path(), usage='');"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
