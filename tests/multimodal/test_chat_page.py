"""The chat page in a browser."""

from __future__ import annotations

import io
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("transformers", reason="extra multimodal is not installed")
pytest.importorskip("gradio", reason="extra multimodal is not installed")
pytest.importorskip("playwright", reason="playwright is not installed")

from playwright import sync_api as playwright

from cmid.multimodal.chat.page import serve
from cmid.visualization.numbered_boxes import COLOURS
from tests.multimodal.chatting import ANSWER, QUESTION, picture, taught


@pytest.fixture
def browser() -> Iterator[Any]:
    """A page of Debian's chromium, without a window."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("no chromium on the PATH: apt install chromium")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium.new_page(viewport={"width": 1300, "height": 950})
        chromium.close()


@pytest.mark.slow
def test_a_browser_uploads_asks_and_sees_answer_and_boxes(browser: Any, tmp_path: Path) -> None:
    image = tmp_path / "sea.png"
    picture().save(image)
    hosts: set[str | None] = set()
    browser.on("request", lambda request: hosts.add(urlparse(request.url).hostname))
    faults: list[str] = []
    browser.on("pageerror", lambda error: faults.append(str(error)))
    page = serve(taught(), block=False)
    try:
        browser.goto(page.local_url)
        with browser.expect_file_chooser() as chooser:
            browser.locator("#upload").click()
        chooser.value.set_files(image)
        told = browser.locator("#told")
        playwright.expect(told).to_contain_text("sea.png: 90 x 60 pixels", timeout=60_000)
        browser.locator("#question textarea, #question input").first.fill(QUESTION)
        browser.locator("#send").click()
        playwright.expect(told).to_contain_text("2 boxes drawn", timeout=60_000)
        # As written: the model's HTML is text.
        playwright.expect(browser.locator("#said")).to_contain_text(ANSWER)
        assert browser.locator("#said b").count() == 0
        shown = browser.locator("#view img")
        drawn = fetched(browser, shown.get_attribute("src"))
        height, width = drawn.shape[:2]
        edge = drawn[round(0.2 * height), round(0.2 * width) : round(0.5 * width)]
        assert np.median(np.abs(edge.astype(int) - COLOURS[0])) < 10
        # Until it is loaded it has another size on the page.
        browser.wait_for_function("document.querySelector('#view img').naturalWidth > 0")
        box = shown.bounding_box()
        for x, y, answer in (
            (0.25, 0.25, "click on the corner across"),
            (0.75, 0.25, "no area between"),
            (0.75, 0.5, "questions are about this region"),
        ):
            shown.click(position={"x": x * box["width"], "y": y * box["height"]})
            playwright.expect(told).to_contain_text(answer, timeout=60_000)
        region = browser.locator("#region textarea, #region input").first
        playwright.expect(region).to_have_value(re.compile(r"^2[45]\.\d, "))
        browser.get_by_text("region by brush").click()
        browser.locator("#load").click()
        canvas = browser.locator("#board canvas").first
        canvas.wait_for(timeout=30_000)
        browser.wait_for_timeout(3000)
        board = canvas.bounding_box()
        for move, share in ((browser.mouse.down, 0.4), (browser.mouse.up, 0.6)):
            browser.mouse.move(
                *(board[k] + share * board[side] for k, side in (("x", "width"), ("y", "height"))),
                steps=8,
            )
            move()
        browser.wait_for_timeout(1500)
        browser.locator("#brushed").click()
        playwright.expect(region).to_have_value(
            re.compile(r"^3\d\.\d, 3\d\.\d, 6\d\.\d, 6\d\.\d$"), timeout=60_000
        )
        browser.locator("#restart").click()
        playwright.expect(told).to_contain_text("a new chat")
        playwright.expect(browser.locator("#said")).not_to_contain_text("pier")
    finally:
        browser.goto("about:blank")  # the server waits for a page that listens
        page.close()
    assert faults == []
    assert {host for host in hosts if host} == {"127.0.0.1"}


class Slow:
    """A model that takes its time, and tells how it was asked."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.asked: list[dict[str, Any]] = []
        self.ended = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def stream(self, conversation: Any, images: Any, **options: Any) -> Iterator[str]:
        self.asked.append({"images": images, **options})
        try:
            for part in self.model.stream(conversation, images, **options):
                yield part
                time.sleep(0.5)
        finally:
            self.ended += 1


@pytest.mark.slow
def test_a_browser_stops_an_answer_and_sets_bands_and_temperature(
    browser: Any, tmp_path: Path
) -> None:
    rasterio = pytest.importorskip("rasterio", reason="extra geo is not installed")
    scene = tmp_path / "scene.tif"
    values = np.random.default_rng(0).integers(0, 3000, (4, 40, 60)).astype(np.uint16)
    with rasterio.open(
        scene, "w", driver="GTiff", count=4, height=40, width=60, dtype="uint16"
    ) as file:
        file.write(values)
    chat = taught()
    slow = chat.model = Slow(chat.model)  # type: ignore[assignment]
    page = serve(chat, block=False)
    try:
        browser.goto(page.local_url)
        browser.locator("#bands textarea, #bands input").first.fill("4 3 2")
        with browser.expect_file_chooser() as chooser:
            browser.locator("#upload").click()
        chooser.value.set_files(scene)
        told = browser.locator("#told")
        playwright.expect(told).to_contain_text("bands 4, 3, 2 of 4; stretched", timeout=60_000)
        question = browser.locator("#question textarea, #question input").first
        question.fill(QUESTION)
        browser.locator("#send").click()
        said = browser.locator("#said [data-testid=bot]").last
        playwright.expect(said).to_contain_text(ANSWER[:3], timeout=60_000)
        assert slow.ended == 0  # it is seen while it is written
        browser.locator("#stop").click()
        for _ in range(50):
            browser.wait_for_timeout(200)
            if slow.ended:
                break
        assert slow.ended == 1
        browser.wait_for_timeout(500)
        written = said.inner_text().strip()
        assert ANSWER.startswith(written)
        assert 3 <= len(written) < len(ANSWER)
        browser.locator("#temperature input[type=number]").fill("0.7")
        browser.locator("#temperature input[type=number]").press("Enter")
        question.fill("and now?")
        browser.locator("#send").click()
        for _ in range(50):
            browser.wait_for_timeout(200)
            if len(slow.asked) == 2:
                break
    finally:
        chat.stop()
        browser.goto("about:blank")  # the server waits for a page that listens
        page.close()
    assert [asked["temperature"] for asked in slow.asked] == [0, 0.7]
    wide = [*values[[3, 2, 1]]]
    for seen, band in zip(slow.asked[0]["images"][0].numpy(), wide, strict=True):
        assert np.corrcoef(seen.ravel(), band.ravel())[0, 1] > 0.99


def fetched(browser: Any, url: str) -> Any:
    return np.asarray(Image.open(io.BytesIO(browser.request.get(url).body())).convert("RGB"))
