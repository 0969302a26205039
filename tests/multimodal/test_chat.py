"""A chat in the terminal, and what it shares with the page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers", reason="extra multimodal is not installed")

from cmid.data.statistics import ChannelStatistics
from cmid.multimodal import save_model
from cmid.multimodal.boxes import BoxForm
from cmid.multimodal.chat.page import Page, transcript
from cmid.multimodal.chat.pictures import open_picture
from cmid.multimodal.chat.session import Chat, open_chat
from cmid.multimodal.chat.settings import ChatConfig
from cmid.multimodal.chat.terminal import converse
from cmid.visualization.numbered_boxes import draw_boxes
from tests.multimodal.chatting import ANSWER, QUESTION, picture, taught


@pytest.fixture(scope="module")
def model() -> Any:
    return taught().model


@pytest.fixture
def chat(model: Any) -> Chat:
    return Chat(model, ChatConfig("taught"), BoxForm(cells=100))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "sea.png"
    picture().save(path)
    return path


def said(chat: Chat, *lines: str) -> str:
    written: list[str] = []
    converse(chat, lines, write=written.append)
    return "".join(written)


def test_a_terminal_chat_streams_answers_and_draws_their_boxes(
    chat: Chat, image: Path, tmp_path: Path
) -> None:
    drawn, streamed = tmp_path / "drawn.png", list[str]()
    lines = [f"/image {image}", QUESTION, f"/draw {drawn}", "/quit", "/image none"]
    converse(chat, lines, write=streamed.append)
    told = "".join(streamed)
    assert told.startswith(f"sea.png: 90 x 60 pixels\n{ANSWER}\n")
    # Fractions of a hundred, of 90 x 60 pixels.
    assert "box 1 in pixels: (9,12) (54,12) (54,42) (9,42)" in told
    assert f"{drawn}: 2 boxes" in told
    assert drawn.is_file()
    assert len(streamed) > 6


def test_boxes_of_an_answer_stay_on_the_picture_that_it_is_about(
    chat: Chat, image: Path, tmp_path: Path
) -> None:
    chat.set_answering(max_tokens=1)
    for _ in range(2):  # the first one is about nothing
        list(chat.ask(QUESTION))
        chat.said[-1].answer = ANSWER
        if not chat.pictures:
            chat.add_image(image)
            assert chat.boxes == []
    assert len(chat.boxes) == 2
    chat.add_image(image)
    assert chat.boxes == []
    np.testing.assert_array_equal(np.asarray(chat.drawn()), np.asarray(bare(chat)))
    assert "0 boxes" in said(chat, f"/draw {tmp_path / 'b.png'}")
    page = Page(chat)
    page.look(chat, 0)
    assert len(chat.boxes) == 2
    assert np.any(np.asarray(chat.drawn()) != np.asarray(bare(chat)))


def bare(chat: Chat) -> Any:
    """The picture in view as it is drawn without boxes."""
    return draw_boxes(chat.pictures[chat.view].shown, [])


def test_commands_that_make_no_sense_are_answered_by_a_line(chat: Chat, image: Path) -> None:
    told = said(
        chat,
        *("/nothing", "/temperature", "/temperature warm", "/temperature -1", "/image missing.png"),
        *("/region 1 2", "/region 50 50 10 60", "/draw", "/draw x.png", "/image", "/help"),
    )
    lines = told.splitlines()
    assert sum(line.startswith("error: ") for line in lines) == 9
    assert "no command /nothing" in lines[0]
    assert "/temperature T" in told
    assert "no images yet" in told
    assert "0.7" in said(chat, "/temperature 0.7")
    assert chat.answering.temperature == 0.7
    said(chat, f"/image {image}", "what", "/reset")
    assert (chat.pictures, chat.said) == ([], [])


def test_temperature_changes_what_is_answered(chat: Chat) -> None:
    answers = {}
    for temperature in (0.0, 5.0):
        chat.set_answering(temperature=temperature, max_tokens=12)
        answers[temperature] = set()
        for _ in range(3):
            chat.reset()
            answers[temperature].add("".join(chat.ask(QUESTION)))
    assert {heat: len(found) for heat, found in answers.items()} == {0.0: 1, 5.0: 3}


def test_a_stopped_answer_stays_as_far_as_it_was_written(chat: Chat) -> None:
    parts = chat.ask(QUESTION)
    first = next(parts)
    chat.stop()
    assert list(parts) == []
    assert chat.said[0].answer == first
    assert chat.another().said == []


def test_images_stand_where_they_were_given_and_old_turns_give_way(model: Any, image: Path) -> None:
    chat = Chat(model, ChatConfig("taught", earlier=1, max_tokens=4), BoxForm())
    asked: list[Any] = []
    streamed = model.stream

    class Listening:
        def __getattr__(self, name: str) -> Any:
            return getattr(model, name)

        def stream(self, conversation: Any, images: Any, **options: Any) -> Any:
            asked.append((conversation, images))
            return streamed(conversation, images, **options)

    chat.model = Listening()  # type: ignore[assignment]
    chat.add_image(image)
    list(chat.ask("one <image>"))
    chat.add_image(image)
    list(chat.ask("two"))
    list(chat.ask("three"))
    questions = [[turn.question for turn in conversation.turns] for conversation, _ in asked]
    assert questions == [
        ["<image>\none < image>"],
        ["<image>\none < image>", "<image>\ntwo"],
        ["<image>\n<image>\ntwo", "three"],
    ]
    assert [len(images) for _, images in asked] == [1, 2, 2]


def test_limits_are_named_with_their_options(model: Any, image: Path) -> None:
    limits = ChatConfig("taught", max_images=1, max_pixels=100, max_letters=20)
    chat = Chat(model, limits, BoxForm())
    with pytest.raises(ValueError, match="--max_pixels"):
        chat.add_image(image)
    chat.config = ChatConfig("taught", max_images=1, max_letters=20)
    chat.add_image(image)
    with pytest.raises(ValueError, match="--max_images"):
        chat.add_image(image)
    with pytest.raises(ValueError, match="--max_letters"):
        list(chat.ask("why" * 20))
    with pytest.raises(ValueError, match="no question"):
        list(chat.ask("  "))
    with pytest.raises(ValueError, match="choose one on the image"):
        list(chat.ask("What is at {region}?"))
    chat.set_answering(max_tokens=2040)
    with pytest.raises(ValueError, match="exceed the 2048 tokens"):
        list(chat.ask("why"))
    assert chat.said == []


@pytest.mark.parametrize(("fit", "box"), [("squash", "[20,25,40,50]"), ("pad", "[20,33,40,50]")])
def test_regions_are_named_in_the_square_that_the_model_sees(
    fit: str, box: str, model: Any, image: Path
) -> None:
    """The image is 90 wide and 60 high; padded, it takes the middle two thirds of the square."""
    chat = Chat(model, ChatConfig("taught", max_tokens=1), BoxForm(cells=100))
    chat.add_image(image)
    chat.region = (0.2, 0.25, 0.4, 0.5)
    model.fit = fit
    try:
        list(chat.ask("What is at {region}?"))
        list(chat.ask("And here?"))
        assert [each.question for each in chat.said] == [f"What is at {box}?", f"And here? {box}"]
        chat.said[-1].answer = box
        whole = chat.boxes[0]
    finally:
        model.fit = "squash"
    np.testing.assert_allclose(whole[0], [0.2, 0.25], atol=0.01)
    np.testing.assert_allclose(whole[2], [0.4, 0.5], atol=0.01)


def test_bands_of_geotiffs_are_chosen_and_stretched(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio", reason="extra geo is not installed")
    path = tmp_path / "scene.tif"
    values = np.stack([np.full((8, 8), 100 * band) for band in range(5)]).astype(np.uint16)
    values[2] = np.arange(64).reshape(8, 8) * 50
    with rasterio.open(path, "w", driver="GTiff", count=5, height=8, width=8, dtype="uint16") as f:
        f.write(values)
    rgb = ChannelStatistics((0.5,) * 3, (0.2,) * 3, (0.0,) * 3, (255.0,) * 3)
    found = open_picture(path, statistics=rgb, bands=["3", "1", "2"])
    assert found.note.startswith("bands 3, 1, 2 of 5; stretched")
    assert found.pixels.dtype.is_floating_point is False
    assert (int(found.pixels[0].min()), int(found.pixels[0].max())) == (0, 255)
    assert not found.pixels[1].any()
    assert found.shown.shape == (8, 8, 3)
    wide = ChannelStatistics((0.5,) * 5, (0.2,) * 5, (0.0,) * 5, (4000.0,) * 5, dtype="float32")
    raw = open_picture(path, statistics=wide)
    np.testing.assert_array_equal(raw.pixels.numpy(), values)
    assert raw.shown.max() == 255
    with pytest.raises(ValueError, match="2 bands are chosen, the model takes 3"):
        open_picture(path, statistics=rgb, bands=["1", "2"])


def test_a_chat_writes_boxes_as_its_model_was_taught(model: Any, tmp_path: Path) -> None:
    taught_so = {"boxes": {"cells": 99}, "single_turn": True}
    folder = save_model(model, tmp_path / "model", provenance=taught_so)
    chat = open_chat(ChatConfig(str(folder)))
    assert (chat.form.cells, chat.config.earlier) == (99, 0)
    assert open_chat(ChatConfig(str(folder), box_cells=1000)).form.cells == 1000


def test_the_command_answers_lines_of_standard_input(
    model: Any, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from cmid.commands.chat import main

    folder = save_model(model, tmp_path / "model", provenance={"boxes": {"cells": 100}})
    lines = iter([QUESTION])

    def typed(prompt: str) -> str:
        for line in lines:
            return line
        raise EOFError

    monkeypatch.setattr("builtins.input", typed)
    main([str(folder), "--image", str(image)])
    printed = capsys.readouterr().out
    assert ANSWER in printed
    assert "box 2 in pixels" in printed
    monkeypatch.setattr(sys, "argv", ["tools/chat.py"])
    for wrong in (["--share"], ["--port", "7000"], ["--max_upload", "5"]):
        with pytest.raises(SystemExit) as end:
            main([str(folder), *wrong])
        assert end.value.code == 2
    assert "give --web" in capsys.readouterr().err


def test_the_page_escapes_whatever_is_said(chat: Chat, image: Path) -> None:
    page = Page(chat)
    state = page.upload(None, [str(image)], "", "auto")[0]
    assert state is not chat
    last: tuple[Any, ...] = ()
    for last in page.ask(state, QUESTION, 0, 64, ""):
        assert last[0] is state
    assert "&lt;b&gt;ship" in transcript(state)[1]["content"]
    assert last[-1] == "2 boxes drawn"
    *_, told = page.upload(state, [str(image.with_name("<i>.png"))], "", "auto")
    assert told == "error: no image &lt;i&gt;.png"
    *_, told = list(page.ask(state, "", 0, 64, ""))[-1]
    assert "there is no question" in told


def test_a_first_answer_is_stopped_before_its_first_word(chat: Chat) -> None:
    page, streamed = Page(chat), chat.model.stream
    parts = page.ask(None, QUESTION, 0, 64, "")
    state = next(parts)[0]
    assert state is not None

    class Thinking:
        def __getattr__(self, name: str) -> Any:
            return getattr(chat.model, name)

        def stream(self, *asked: Any, **options: Any) -> Any:
            page.stop(state)
            yield from streamed(*asked, **options)

    state.model = Thinking()
    for _ in parts:
        pass
    assert len(state.said[0].answer) < len(ANSWER) / 2


def test_a_page_is_sent_the_pictures_that_it_lacks_alone(chat: Chat, image: Path) -> None:
    page = Page(chat, same="same")
    *_, drawn, thumbs, _, _ = page.upload(chat, [str(image)], "", "auto")
    assert (drawn, thumbs[0][0]) == (chat.drawn(), chat.pictures[0].shown)
    answered = list(page.ask(chat, QUESTION, 0, 200, ""))
    assert {shown[3] for shown in answered} == {"same"}
    sent = [shown[2] for shown in answered if shown[2] != "same"]
    assert len(answered) > 5
    assert 1 <= len(sent) <= 2  # its boxes, one after the other
    assert sent[-1] == chat.drawn() != drawn
    assert page.restart(chat)[2:4] == (None, [])
    other = chat.another()
    assert page.upload(other, [str(image)], "", "auto")[2] == drawn


def test_two_clicks_on_the_page_make_a_region(chat: Chat, image: Path) -> None:
    page = Page(chat)
    page.upload(chat, [str(image), str(image)], "", "auto")
    drawn: Any = chat.drawn()

    def click(x: float, y: float) -> tuple[int, int]:
        return round(x * drawn.width), round(y * drawn.height)

    *_, corner = page.click(chat, None, click(0.5, 0.75))
    assert chat.region is None
    *shown, same = page.click(chat, corner, click(0.25, 0.75))
    assert "no area" in shown[-1]
    assert (chat.region, same) == (None, corner)
    *shown, corner = page.click(chat, corner, click(0.25, 0.5))
    assert corner is None
    assert chat.region == pytest.approx((0.25, 0.5, 0.5, 0.75), abs=0.01)
    assert shown[4].startswith("25.")
    page.look(chat, 0)
    assert (chat.view, chat.region) == (0, None)
    strokes = np.zeros((60, 90, 4), dtype=np.uint8)
    assert "no stroke" in page.brush(chat, {"layers": [strokes]}, 1)[-1]
    strokes[15:30, 45:60] = strokes[20, 70] = 255
    shown = [*page.brush(chat, {"layers": [strokes]}, 1)]
    assert (chat.view, shown[4]) == (1, "50.0, 25.0, 78.9, 50.0")
    assert "no stroke" in page.brush(chat, {"layers": [strokes]}, 2)[-1]
    *_, question = page.example(chat, "airport")
    assert len(chat.pictures) == 1
    assert question.startswith("[VG]")
    assert page.restart(chat)[1] == []
