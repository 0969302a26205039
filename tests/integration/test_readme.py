"""Every command that README.md, CONTRIBUTING.md and docs/ show is one that its tool understands.

Commands are read from code blocks and from code within sentences; alternatives (``a|b``, ``{a,b}``)
are all tried. Each goes through the real parser of its tool, up to where the work would begin.
Words in capitals stand for what a reader has.
"""

from __future__ import annotations

import argparse
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from typing import Any

import jsonargparse
import pytest
import yaml

from cmid.command_line import OptionParser
from tests.declared import ROOT, declared

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
STARTS = ("python", ".venv/bin/python", "torchrun", "srun", "make", "pip", "cmid")
# Commands whose options are the keys of their configuration, and what they need to print it.
TRAINERS = {
    "tools/pretrain.py": [],
    "tools/finetune.py": ["--model.backbone", "random:resnet18"],
    "tools/train_clip.py": [],
    "tools/train_multimodal.py": [],
    "tools/train_scorer.py": [],
    "tools/train_grpo.py": [],
}
SUBCOMMANDS = {
    "tools/evaluate_clip.py": ("zero_shot", "retrieval", "segmentation", "regions"),
    "tools/prepare_detection.py": ("dota", "dior"),
    "tools/search.py": ("build", "query", "classify"),
}


class UnderstoodError(BaseException):
    """A command line was parsed: the work does not begin."""


def code(text: str) -> list[str]:
    """Lines of code blocks, indented or fenced, and then code within sentences."""
    text = text.replace("\\\n", " ")
    lines: list[str] = []
    sentences: list[str] = []
    fenced = False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            lines.append(line)
        else:
            sentences.append(line)
    spans = re.findall(r"`([^`]+)`", "\n".join(sentences))
    return [" ".join(line.split()) for line in [*lines, *spans]]


def without_comment(line: str) -> str:
    """The line up to its comment."""
    return re.split(r"(?:^|\s)#", line)[0].strip()


def alternatives(line: str) -> Iterator[list[str]]:
    """The words of a command, once for each choice of ``a|b|c`` and ``{a,b}``."""
    choices = []
    for word in shlex.split(without_comment(line)):
        if word in ("...", "[...]") or word.startswith("$"):
            continue
        braces = re.fullmatch(r"(.*)\{([^{}]*,[^{}]*)\}(.*)", word)
        if braces:
            head, middle, tail = braces.groups()
            choices.append([f"{head}{each.strip()}{tail}" for each in middle.split(",")])
        else:
            choices.append(word.split("|") if re.fullmatch(r"[\w-]+(\|[\w-]+)+", word) else [word])
    yield from (list(words) for words in product(*choices))


def documented() -> list[str]:
    """All commands of the documents, as they are written."""
    found = [line for path in DOCUMENTS for line in code(path.read_text())]
    return list(dict.fromkeys(line for line in found if is_command(line)))


def is_command(line: str) -> bool:
    """Whether a piece of code is called from a shell."""
    first, *more = without_comment(line).split() or [""]
    if first.startswith(("tools/", "benchmarks/")):
        return first.endswith(".py")
    return first in STARTS and bool(more)


def options() -> list[str]:
    """Options that sentences name without their command."""
    found = [line for path in DOCUMENTS for line in code(path.read_text())]
    return list(dict.fromkeys(line for line in found if line.startswith("--")))


def understand(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a command's own parser read it.

    Raises:
        AssertionError: the command is none that is known here, or a file it names is missing.
        SystemExit: the command's parser refuses, with a status other than 0.
    """
    if words[0] == "cmid":
        named = not words[1].startswith("-")
        words = [f"tools/{words[1]}.py", *words[2:]] if named else ["cmid/__main__.py", *words[1:]]
    while words and words[0] != "-m" and not words[0].endswith(".py"):
        words = words[1:]
    assert words, "no script and no module"
    for word in words:
        if word.startswith("configs/") and "*" not in word:
            assert (ROOT / word).is_file(), f"no file {word}"
    script = words[0] if words[0] != "-m" else words[1].replace(".", "/") + ".py"
    assert (ROOT / script).is_file(), f"no command {script}"
    arguments = words[1 if words[0] != "-m" else 2 :]
    if script in TRAINERS:
        arguments = [*without_placeholder(arguments), "--print_config"]
    elif not arguments:
        arguments = ["--help"]  # a mention: its arguments are shown elsewhere
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    try:
        if words[0] == "-m":
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(script, run_name="__main__")
    except UnderstoodError:
        return
    except SystemExit as end:
        if end.code not in (0, None):
            raise
        return
    assert "--help" in arguments, f"{script} does not use a parser that is known here"


def is_placeholder(value: object) -> bool:
    """Whether a word stands for what a reader has."""
    return isinstance(value, str) and re.fullmatch(r"[A-Z]+", value) is not None


def without_placeholder(arguments: list[str]) -> list[str]:
    """The default configuration in the place of ``--config FILE``."""
    if "--config" in arguments:
        position = arguments.index("--config")
        if is_placeholder(arguments[position + 1]):
            return arguments[:position] + arguments[position + 2 :]
    return arguments


@pytest.fixture(autouse=True)
def _stop_after_parsing(monkeypatch: pytest.MonkeyPatch) -> None:
    """argparse hands its result to nobody, and takes words in capitals for any choice or number."""
    check, convert = argparse.ArgumentParser._check_value, argparse.ArgumentParser._get_value

    for kind in (argparse.ArgumentParser, jsonargparse.ArgumentParser):
        parse = kind.parse_args

        def parse_only(
            self: argparse.ArgumentParser, *args: Any, parse: Any = parse, **kwargs: Any
        ) -> None:
            parse(self, *args, **kwargs)
            raise UnderstoodError

        monkeypatch.setattr(kind, "parse_args", parse_only)

    def check_value(self: argparse.ArgumentParser, action: argparse.Action, value: object) -> None:
        if not is_placeholder(value):
            check(self, action, value)

    def get_value(self: argparse.ArgumentParser, action: argparse.Action, text: str) -> object:
        return text if is_placeholder(text) else convert(self, action, text)

    # Our parser checks once more, with the choices of an option at hand.
    monkeypatch.setattr(
        OptionParser, "_check_value_key", lambda self, action, value, *_, **__: value
    )
    monkeypatch.setattr(argparse.ArgumentParser, "_check_value", check_value)
    monkeypatch.setattr(argparse.ArgumentParser, "_get_value", get_value)


@pytest.mark.parametrize("line", documented(), ids=lambda line: re.sub(r"[^\w.]+", "-", line)[:60])
def test_documented_commands_are_understood(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in alternatives(line):
        if words[0] == "make":
            process = subprocess.run(
                ["make", "--dry-run", *words[1:]], cwd=ROOT, capture_output=True, text=True
            )
            assert process.returncode == 0, process.stderr
        elif words[0] == "pip":
            assert re.search(r"(cmid|\s'?\.)", line)
            extras = re.findall(r"\w[\w-]*", " ".join(re.findall(r"(?:cmid|\.)\[(.*?)\]", line)))
            assert set(extras) <= set(declared()[1])
        else:
            understand(words, monkeypatch)


def test_options_named_in_sentences_exist(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {"--help", "--help_all", "--print_config", "--config"}
    trained: dict[str, set[str]] = {}
    for script in sorted((ROOT / "tools").glob("*.py")):
        name = f"tools/{script.name}"
        if name in TRAINERS:
            capsys.readouterr()
            understand([name, *TRAINERS[name]], monkeypatch)
            trained[name] = {f"--{key}" for key in keys(yaml.safe_load(capsys.readouterr().out))}
        else:
            known |= accepted(name, monkeypatch)
    modules = re.findall(r"python -m (benchmarks\.[\w.]+)", "\n".join(documented()))
    for module in sorted(set(modules)):
        known |= accepted(f"{module.replace('.', '/')}.py", monkeypatch)
    for words in (words for line in options() for words in alternatives(line)):
        named = {word.partition("=")[0] for word in words if word.startswith("--")}
        tools = [name for name in trained if named <= trained[name]]
        assert tools or named <= known, words
        if tools and len(words) > len(named) and not is_placeholder(words[-1]):
            taken = any(takes(name, words, monkeypatch) for name in tools)
            assert taken or named <= known, words  # another tool may have an option of that name


def takes(name: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a trainer accepts options with their values."""
    try:
        understand([name, *TRAINERS[name], *words], monkeypatch)
    except SystemExit:
        return False
    return True


def accepted(name: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Option strings of a tool, and of its sub-commands."""
    found = set[str]()
    for words in ([name], *([name, verb] for verb in SUBCOMMANDS.get(name, ()))):
        shown: list[argparse.ArgumentParser] = []
        with monkeypatch.context() as patch:
            patch.setattr(
                argparse.ArgumentParser, "print_help", lambda self, *_, to=shown: to.append(self)
            )
            understand([*words, "--help"], patch)
        found |= set(shown[0]._option_string_actions)
    return found


def keys(content: object, prefix: str = "") -> Iterator[str]:
    """Dotted names of all keys of nested mappings."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield f"{prefix}{key}"
            yield from keys(value, f"{prefix}{key}.")


def test_what_is_imported_from_cmid_is_there() -> None:
    lines = [without_comment(line) for path in DOCUMENTS for line in code(path.read_text())]
    imports = [line for line in lines if re.match(r"from (cmid|benchmarks)[\w.]* import ", line)]
    for line in imports:
        exec(line, {})


@pytest.mark.parametrize(
    "line",
    [
        "python tools/evaluate.py BACKBONE DATA --no_such_option 3",
        "python tools/evaluate.py BACKBONE DATA --tasks juggling",
        "python tools/evaluate_clip.py no_such_task DIR --model FOLDER",
        "python tools/pretrain.py --config configs/pretrain/no_such.yaml",
        "python tools/pretrain.py --model.no_such_key 1",
        "python tools/pretrain.py --model.queue_size many",
        "torchrun --nproc_per_node 4 tools/train.py configs/segmentation/no_such.py",
        "python tools/no_such_tool.py DATA",
        "python -m benchmarks.no_such_module",
        "python tools/visualize.py pca|no_such_kind BACKBONE IMAGES --out picture.png",
        "python tools/make_scenes.py --task segmentation --train {10,many}",
    ],
)
def test_commands_that_do_not_run_are_noticed(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def understand_all() -> None:
        for words in alternatives(line):
            understand(words, monkeypatch)

    with pytest.raises((AssertionError, SystemExit)):
        understand_all()


def test_commands_of_every_form_are_found() -> None:
    text = """
    Try `make
    test`, or `python tools/a.py
    --b c`.

        python tools/a.py DIR \\
            --b c      # why
        torchrun -n 2 tools/a.py

    ```bash
    python -m benchmarks.a
    ```
    """.replace("\n    ", "\n")
    found = [without_comment(line) for line in code(text) if is_command(line)]
    assert found == [
        "python tools/a.py DIR --b c",
        "torchrun -n 2 tools/a.py",
        "python -m benchmarks.a",
        "make test",
        "python tools/a.py --b c",
    ]
    assert list(alternatives("x a|b {1,2}")) == [
        ["x", *pair] for pair in (("a", "1"), ("a", "2"), ("b", "1"), ("b", "2"))
    ]
