"""A chat in the terminal."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cmid.files import whole_file
from cmid.multimodal.chat.session import Chat


@dataclass(frozen=True)
class Command:
    """What ``/name words`` does."""

    words: str
    text: str
    work: Callable[[Chat, list[str]], str]


def _image(chat: Chat, words: list[str]) -> str:
    if not words:
        return "\n".join(
            f"{number}. {p.name}, {p.size[1]} x {p.size[0]}"
            for number, p in enumerate(chat.pictures, 1)
        ) or "no images yet: /image FILE"  # fmt: skip
    said = []
    for word in words:
        picture = chat.add_image(word)
        note = f" ({picture.note})" if picture.note else ""
        said.append(f"{picture.name}: {picture.size[1]} x {picture.size[0]} pixels{note}")
    return "\n".join(said)


def _bands(chat: Chat, words: list[str]) -> str:
    chat.bands = tuple(words)
    return f"bands of the next images: {', '.join(words) or 'the first ones'}"


def _region(chat: Chat, words: list[str]) -> str:
    chat.region = read_region(" ".join(words)) if words else None
    return "the next questions are about this region" if words else "no region"


def _temperature(chat: Chat, words: list[str]) -> str:
    chat.set_answering(temperature=float(words[0]))
    return f"temperature {chat.answering.temperature:g}"


def _tokens(chat: Chat, words: list[str]) -> str:
    chat.set_answering(max_tokens=int(words[0]))
    return f"answers of up to {chat.answering.max_tokens} tokens"


def _draw(chat: Chat, words: list[str]) -> str:
    picture = chat.drawn()
    if picture is None:
        raise ValueError("there is no image to draw on: /image FILE")
    with whole_file(words[0]) as partial:
        picture.save(partial, format="PNG")
    return f"{words[0]}: {len(chat.boxes)} boxes"


def _reset(chat: Chat, words: list[str]) -> str:
    chat.reset()
    return "a new chat"


def _help(chat: Chat, words: list[str]) -> str:
    lines = [f"  /{name} {c.words}".ljust(26) + c.text for name, c in COMMANDS.items()]
    return "\n".join([*lines, "  /quit".ljust(26) + "end; so does Ctrl-D", _INTERRUPT])


_INTERRUPT = "Ctrl-C stops an answer. Anything else is a question."
COMMANDS = {
    "image": Command("[FILE ...]", "give images, or list them", _image),
    "bands": Command("[BAND ...]", "bands of GeoTIFFs given from here on", _bands),
    "region": Command("[X0 Y0 X1 Y1]", "a part of the image, in percent of its sides", _region),
    "temperature": Command("T", "0: the likeliest answer; above, answers are drawn", _temperature),
    "tokens": Command("N", "longest answer", _tokens),
    "draw": Command("FILE", "write the image with the answer's boxes as PNG", _draw),
    "reset": Command("", "begin anew, without images", _reset),
    "help": Command("", "this text", _help),
}


def read_region(text: str) -> tuple[float, float, float, float]:
    """A box of four percentages, in fractions.

    Raises:
        ValueError: not four numbers, from left to right and from top to bottom.
    """
    try:
        x0, y0, x1, y1 = (float(word) / 100 for word in text.replace(",", " ").split())
    except ValueError:
        raise ValueError(f"region {text!r} is not X0 Y0 X1 Y1 in percent of the image") from None
    if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
        raise ValueError(f"region {text!r} has no area inside of the image: X0 Y0 X1 Y1 in percent")
    return x0, y0, x1, y1


def typed() -> Iterator[str]:
    """Lines of the keyboard, or of whatever stands in for it."""
    while True:
        try:
            yield input("> " if sys.stdin.isatty() else "")
        except EOFError:
            return


def show(text: str) -> None:
    """Write a part of an answer at once."""
    print(text, end="", flush=True)


def converse(chat: Chat, lines: Iterable[str], *, write: Callable[[str], object] = show) -> None:
    """Answer lines until they end or one of them is ``/quit``.

    Args:
        write: takes parts of answers as they come.
    """
    for line in lines:
        line = line.strip()
        if line in ("/quit", "/exit"):
            return
        if line:
            try:
                _answer(chat, line, write)
            except (OSError, ValueError) as error:
                write(f"error: {error}\n")


def _answer(chat: Chat, line: str, write: Callable[[str], object]) -> None:
    if line.startswith("/"):
        name, *words = shlex.split(line[1:]) or [""]
        command = COMMANDS.get(name)
        if command is None:
            raise ValueError(f"no command /{name}: /help lists them")
        if command.words and not command.words.startswith("[") and not words:
            raise ValueError(f"/{name} takes {command.words}: {command.text}")
        write(f"{command.work(chat, words)}\n")
        return
    parts = chat.ask(line)
    try:
        for part in parts:
            # Control signs would reach the terminal, not the reader.
            write("".join(sign for sign in part if sign.isprintable() or sign in "\n\t"))
    except KeyboardInterrupt:
        parts.close()  # type: ignore[attr-defined]
        write(" ... stopped")
    write("\n")
    for number, corners in enumerate(chat.boxes, 1):
        height, width = chat.pictures[chat.view].size
        points = " ".join(f"({x * width:.0f},{y * height:.0f})" for x, y in corners)
        write(f"box {number} in pixels: {points}\n")


def load_images(chat: Chat, paths: Iterable[Path]) -> None:
    """Give images and say what was read."""
    for path in paths:
        print(_image(chat, [str(path)]))
