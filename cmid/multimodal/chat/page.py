"""A chat as a page of gradio, on this machine alone unless a link is asked for."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from PIL import Image as PillowImage

from cmid.data.folder import IMAGE_EXTENSIONS
from cmid.data.raster_paths import RASTER_EXTENSIONS
from cmid.data.scenes import generate_scene
from cmid.multimodal.chat.session import REGION, Chat
from cmid.multimodal.chat.settings import MAX_UPLOAD
from cmid.multimodal.chat.terminal import read_region

TASKS = {
    "describe": "Describe the image.",
    "classify": "[CLS] What kind of place is this?",
    "count": "[VQA] How many ships are there?",
    "find": "[VG] Where is the largest plane?",
    "what is here?": f"[Identify] What is at {REGION}?",
    "compare": "What has changed from the first image to the second?",
}
# Generated scenes by their number, and a question about each; of a seed that nobody trains on.
EXAMPLES = {
    "harbour": (5, "[VQA] How many ships are there?"),
    "airport": (6, "[VG] Where is the largest plane?"),
    "houses": (2, "Describe the image."),
}
_SEED = 99
_POINTED = "questions are about this region; empty it to ask of all"
_LOOPBACK = "127.0.0.1"


def import_gradio() -> ModuleType:
    """gradio, or the error that says how to get it."""
    try:
        import gradio
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the page needs gradio: pip install 'cmid[multimodal]'"
        ) from error
    return gradio


def transcript(chat: Chat) -> list[dict[str, str]]:
    """Messages with everything escaped: what a model or a file's name says is never a page."""
    messages = []
    for said in chat.said:
        messages.append({"role": "user", "content": html.escape(said.question)})
        messages.append({"role": "assistant", "content": html.escape(said.answer) or "..."})
    return messages


@dataclass
class Page:
    """What the page's buttons do; each returns what `shown` gives, and knows nothing of gradio.

    Attributes:
        first: the chat that others are copies of: each visitor has one.
        same: stands for pictures that the page has already; None: they are sent all the same.
    """

    first: Chat
    same: Any = None
    _sent: MutableMapping[Chat, tuple[Any, ...]] = field(
        default_factory=WeakKeyDictionary, init=False, repr=False
    )

    def shown(self, chat: Chat, told: str = "") -> tuple[Any, ...]:
        """The chat, its messages, the picture in view, thumbnails, the region, a message."""
        thumbs = [(p.shown, f"{n}. {p.name}") for n, p in enumerate(chat.pictures, 1)]
        region = "" if chat.region is None else ", ".join(f"{100 * x:.1f}" for x in chat.region)
        pictures = self._changed(chat, chat.drawn(), thumbs)
        return chat, transcript(chat), *pictures, region, html.escape(told)

    def _changed(self, chat: Chat, *pictures: Any) -> tuple[Any, ...]:
        """Those that the page does not have yet, `same` for the others.

        gradio writes a picture's file whenever it is sent, and a browser that is reading the file
        at that moment gets a part of it.
        """
        if self.same is None:
            return pictures
        before = self._sent.get(chat, (self,) * len(pictures))
        self._sent[chat] = pictures
        pairs = zip(pictures, before, strict=True)
        return tuple(self.same if new == old else new for new, old in pairs)

    def upload(
        self, chat: Chat | None, paths: list[str] | None, bands: str, stretch: Any
    ) -> tuple[Any, ...]:
        chat = chat or self.first.another()
        chat.bands, chat.stretch = tuple(bands.replace(",", " ").split()), stretch
        told = []
        for path in paths or []:
            try:
                picture = chat.add_image(path)
            except (OSError, ValueError) as error:
                told.append(f"error: {str(error).replace(str(Path(path).parent) + '/', '')}")
            else:
                height, width = picture.size
                told.append(f"{picture.name}: {width} x {height} pixels {picture.note}".strip())
        return self.shown(chat, "; ".join(told))

    def ask(
        self, chat: Chat | None, question: str, temperature: float, tokens: float, region: str
    ) -> Iterator[tuple[Any, ...]]:
        """Everything anew with each part of the answer."""
        chat = chat or self.first.another()
        try:
            chat.region = read_region(region) if region.strip() else None
            chat.set_answering(temperature=float(temperature), max_tokens=int(tokens))
            yield self.shown(chat)  # before the first word: from here on there is a chat to stop
            for _ in chat.ask(question):
                yield self.shown(chat)
        except (OSError, ValueError) as error:
            yield self.shown(chat, f"error: {error}")
        else:
            count = len(chat.boxes)
            yield self.shown(chat, f"{count} boxes drawn" if count else "")

    def stop(self, chat: Chat | None) -> None:
        if chat is not None:
            chat.stop()

    def restart(self, chat: Chat | None) -> tuple[Any, ...]:
        chat = chat or self.first.another()
        chat.reset()
        return self.shown(chat, "a new chat")

    def look(self, chat: Chat, number: int) -> tuple[Any, ...]:
        """Another picture in view."""
        chat.view, chat.region = number, None
        return self.shown(chat)

    def click(
        self, chat: Chat, corner: tuple[float, float] | None, at: tuple[int, int]
    ) -> tuple[Any, ...]:
        """The first click is a corner of a region, the second the one across; also that corner."""
        picture = chat.drawn()
        assert picture is not None  # there was something to click on
        here = at[0] / picture.width, at[1] / picture.height
        if corner is None:
            return *self.shown(chat, "click on the corner across"), here
        (x0, x1), (y0, y1) = (sorted(pair) for pair in zip(corner, here, strict=True))
        if x1 == x0 or y1 == y0:
            return *self.shown(chat, "there is no area between the two: click elsewhere"), corner
        chat.region = (x0, y0, x1, y1)
        return *self.shown(chat, _POINTED), None

    def board(self, chat: Chat | None) -> tuple[PillowImage.Image | None, int | None]:
        """The picture in view, to brush on, and its number."""
        if chat is None or not chat.pictures:
            return None, None
        return chat.drawn(), chat.view

    def brush(
        self, chat: Chat | None, sketch: dict[str, Any] | None, number: int | None
    ) -> tuple[Any, ...]:
        """The box around all strokes is the region, of the picture that was brushed on.

        Args:
            sketch: ``layers``, ``(H, W, 4)`` each; the last band is not 0 where there is a stroke.
            number: of that picture.
        """
        chat = chat or self.first.another()
        layers = (sketch or {}).get("layers") or []
        points = np.argwhere([each[..., 3] > 0 for each in layers])[:, -2:]
        if number is None or number >= len(chat.pictures) or not len(points):
            return self.shown(chat, "there is no stroke: show the image in view, and brush on it")
        height, width = layers[0].shape[:2]
        (y0, x0), (y1, x1) = points.min(axis=0).tolist(), (points.max(axis=0) + 1).tolist()
        chat.view, chat.region = number, (x0 / width, y0 / height, x1 / width, y1 / height)
        return self.shown(chat, _POINTED)

    def example(self, chat: Chat | None, name: str) -> tuple[Any, ...]:
        """A new chat about a generated scene, and a question to ask."""
        chat = chat or self.first.another()
        chat.reset()
        number, question = EXAMPLES[name]
        pixels = generate_scene(number, seed=_SEED, size=128).image.permute(1, 2, 0).numpy()
        told = ""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.png"
            PillowImage.fromarray(pixels).save(path)
            try:
                chat.add_image(path)
            except ValueError as error:  # a model of other bands
                told = f"error: {error}"
        return *self.shown(chat, told), question


def build_page(chat: Chat) -> Any:
    """The page, still to be launched: a ``gradio.Blocks``.

    Raises:
        ModuleNotFoundError: gradio is not installed.
    """
    gr = import_gradio()
    page, config = Page(chat, same=gr.skip()), chat.config
    with gr.Blocks(title="cmid chat", analytics_enabled=False, delete_cache=(3600, 3600)) as blocks:
        state, corner, on_board = gr.State(None), gr.State(None), gr.State(None)
        with gr.Row():
            with gr.Column():
                view = gr.Image(
                    label="image in view: two clicks choose a region", type="pil", format="png",
                    interactive=False, elem_id="view", height=420, buttons=["fullscreen"],
                )  # fmt: skip
                thumbs = gr.Gallery(
                    label="images", columns=6, height=120, allow_preview=False, elem_id="thumbs",
                    interactive=False, format="png",
                )  # fmt: skip
                with gr.Row():
                    files = gr.UploadButton(
                        "add images", file_count="multiple", elem_id="upload",
                        file_types=sorted({*IMAGE_EXTENSIONS, *RASTER_EXTENSIONS}),
                    )  # fmt: skip
                    bands = gr.Textbox(
                        label="bands of GeoTIFFs", placeholder="4 3 2", elem_id="bands"
                    )
                    stretch = gr.Dropdown(["auto", "always", "never"], label="stretch")
                region = gr.Textbox(
                    label="region: left, top, right, bottom in percent", elem_id="region"
                )
                board, load, brushed = _brush_board(gr)
            with gr.Column():
                said = gr.Chatbot(
                    label="chat", height=420, elem_id="said", sanitize_html=True, buttons=[],
                    render_markdown=False, allow_file_downloads=False,
                )  # fmt: skip
                question = gr.Textbox(
                    label="question", max_length=config.max_letters, elem_id="question"
                )
                with gr.Row():
                    send = gr.Button("ask", variant="primary", elem_id="send")
                    halt = gr.Button("stop", elem_id="stop")
                    anew = gr.Button("restart", elem_id="restart")
                with gr.Row():
                    tasks = {text: gr.Button(name, size="sm") for name, text in TASKS.items()}
                with gr.Row():
                    examples = {name: gr.Button(f"example: {name}", size="sm") for name in EXAMPLES}
                temperature = gr.Slider(
                    0, 2, config.temperature, step=0.1, label="temperature", elem_id="temperature"
                )
                tokens = gr.Slider(1, config.max_tokens, config.max_tokens, step=1, label="tokens")
                told = gr.Markdown(elem_id="told")
        everything = [state, said, view, thumbs, region, told]
        files.upload(page.upload, [state, files, bands, stretch], everything)
        asked = [state, question, temperature, tokens, region]
        # The generator itself: gradio looks at what a function is.
        gr.on([send.click, question.submit], page.ask, asked, everything, concurrency_limit=1)
        halt.click(page.stop, [state], queue=False)
        gr.on([anew.click, said.clear], page.restart, [state], everything)
        for text, button in tasks.items():
            button.click(partial(str, text), outputs=[question])
        for name, button in examples.items():
            shown = partial(page.example, name=name)
            button.click(shown, [state], [*everything, question])
        pointed = _told_where(gr, lambda chat, first, at: page.click(chat, first, at.index))
        view.select(pointed, [state, corner], [*everything, corner])
        chosen = _told_where(gr, lambda chat, at: page.look(chat, at.index))
        load.click(page.board, [state], [board, on_board])
        brushed.click(page.brush, [state, board, on_board], everything)
        over = [anew.click, said.clear, *(button.click for button in examples.values())]
        gr.on(over, lambda: (None, None), outputs=[board, on_board])
        thumbs.select(chosen, [state], everything)
    return blocks


def _brush_board(gr: ModuleType) -> tuple[Any, Any, Any]:
    """An editor to brush on, the button that fills it, and the one that takes the region."""
    with gr.Accordion("region by brush", open=False):
        board = gr.ImageEditor(
            label="strokes; the box around them is the region", type="numpy", sources=(),
            transforms=(), layers=False, format="png", buttons=[], elem_id="board", height=420,
            brush=gr.Brush(colors=["#ff0000"], color_mode="fixed", default_size=8),
        )  # fmt: skip
        with gr.Row():
            load = gr.Button("show the image in view", elem_id="load")
            brushed = gr.Button("take the region", elem_id="brushed")
    return board, load, brushed


def _told_where(gr: ModuleType, listener: Callable[..., Any]) -> Callable[..., Any]:
    """A listener whose last argument tells of a click; gradio finds that by its annotation."""
    listener.__annotations__["at"] = gr.SelectData
    return listener


def serve(
    chat: Chat,
    *,
    port: int | None = None,
    share: bool = False,
    max_upload: int = MAX_UPLOAD,
    block: bool = True,
) -> Any:
    """Open the page and print its address.

    Args:
        port: a free one from 7860 on by default.
        share: a public link by gradio's servers.
        max_upload: megabytes of an uploaded file.
        block: stay until the process is interrupted.

    Returns:
        The page; ``local_url`` is its address, ``close()`` ends it.
    """
    gr = import_gradio()
    blocks = build_page(chat)
    # Fonts of the system: the usual theme fetches its own from a server.
    theme = gr.themes.Default(font=["sans-serif"], font_mono=["monospace"])
    blocks.launch(
        server_name=_LOOPBACK, server_port=port, share=share, max_file_size=f"{max_upload}mb",
        theme=theme, footer_links=[], ssr_mode=False, quiet=True, prevent_thread_lock=True,
    )  # fmt: skip
    print(f"page: {blocks.share_url or blocks.local_url} (Ctrl-C ends it)")
    if block:
        blocks.block_thread()
    return blocks
