"""A chat: images, questions and answers, and the boxes in them; terminal and page show it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from cmid.boxes import Box, Floats
from cmid.multimodal.answering import AnsweringConfig
from cmid.multimodal.boxes import BoxForm
from cmid.multimodal.chat.pictures import Picture, open_picture
from cmid.multimodal.chat.settings import ChatConfig
from cmid.multimodal.conversation import IMAGE, Conversation, Turn
from cmid.multimodal.folder import load, read_config
from cmid.multimodal.images import Frame
from cmid.multimodal.model import MultimodalModel
from cmid.visualization.numbered_boxes import draw_boxes

REGION = "{region}"
"""Stands in a question where the region that the user pointed at is to be named."""


@dataclass(eq=False)
class Said:
    """A question, and what was answered so far.

    Attributes:
        images: number of images that came with it.
        view: number of the picture that it is about; None without pictures.
    """

    question: str
    images: int
    view: int | None
    answer: str = ""


class Chat:
    """One conversation with a model about images.

    Args:
        model: answers.
        config: limits, and how images are read.
        form: how the model writes boxes.

    Attributes:
        pictures: given images, in their order.
        said: questions and answers, in their order.
        answering: how answers are written; may be changed at any time.
        view: number of the picture that regions and boxes belong to; the one given last.
        region: x0, y0, x1, y1 in fractions of that picture, or None.
    """

    def __init__(self, model: MultimodalModel, config: ChatConfig, form: BoxForm) -> None:
        self.model, self.config, self.form = model, config, form
        self.answering = AnsweringConfig(config.max_tokens, config.temperature, config.top_p)
        self.bands, self.stretch = config.bands, config.stretch
        self._stopped = threading.Event()
        self.reset()

    def reset(self) -> None:
        """Begin again, without images."""
        self.stop()
        self.pictures: list[Picture] = []
        self.said: list[Said] = []
        self.view = 0
        self.region: Box | None = None

    def another(self) -> Chat:
        """A new chat with the same model and settings."""
        return Chat(self.model, self.config, self.form)

    def add_image(self, path: str | Path) -> Picture:
        """Give an image, about which later questions are; see `open_picture`.

        Raises:
            FileNotFoundError, ValueError: as `open_picture`; or there are too many.
        """
        if len(self.pictures) == self.config.max_images:
            raise ValueError(
                f"a chat takes {self.config.max_images} images: begin anew, or raise --max_images"
            )
        picture = open_picture(
            path,
            statistics=self.model.tower.statistics,
            bands=self.bands,
            stretch=self.stretch,
            max_pixels=self.config.max_pixels,
        )
        self.pictures.append(picture)
        self.view, self.region = len(self.pictures) - 1, None
        return picture

    def set_answering(self, **changes: Any) -> None:
        """Change temperature, ``top_p`` or ``max_tokens``; ValueError out of their ranges."""
        self.answering = replace(self.answering, **changes)

    def ask(self, question: str) -> Iterator[str]:
        """Parts of the answer as they are written; `stop` ends it, and so does closing this.

        Args:
            question: ``{region}`` in it becomes the region; one that is not named there follows it.

        Raises:
            ValueError: no question, too long a one, or one that leaves no room for an answer.
        """
        self._stopped.clear()
        told = sum(each.images for each in self.said)
        view = self.view if self.pictures else None
        said = Said(self._worded(question), len(self.pictures) - told, view)
        pixels = [picture.pixels for picture in self.pictures]
        conversation = self._conversation(said)
        options = vars(self.answering)
        self.said.append(said)
        parts = self.model.stream(conversation, pixels, **options)
        try:
            for part in parts:
                said.answer += part
                yield part
                if self._stopped.is_set():
                    break
        except Exception:
            self.said.remove(said)
            raise
        finally:
            parts.close()  # type: ignore[attr-defined]

    def stop(self) -> None:
        """End the answer that is being written; what there is of it stays."""
        self._stopped.set()

    @property
    def boxes(self) -> list[Floats]:
        """``(4, 2)`` corners of boxes, in fractions of the picture in view.

        They are those of the last answer about it; answers about others have theirs on the others.
        """
        about = [said for said in self.said if said.view == self.view]
        if not about:
            return []
        found = self.form.parse(about[-1].answer) or []
        return [self._frame().to_whole(corners) for corners in found]

    def drawn(self) -> PillowImage.Image | None:
        """The picture in view with numbered boxes and the region; None without pictures."""
        if not self.pictures:
            return None
        region = None if self.region is None else _corners(self.region)
        return draw_boxes(self.pictures[self.view].shown, self.boxes, region=region)

    def _worded(self, question: str) -> str:
        # Places of images are ours to mark.
        question = question.strip().replace(IMAGE, f"{IMAGE[0]} {IMAGE[1:]}")
        if not question:
            raise ValueError("there is no question: write one")
        if len(question) > self.config.max_letters:
            raise ValueError(
                f"a question of {len(question)} letters, more than {self.config.max_letters}:"
                " shorten it, or raise --max_letters"
            )
        if self.region is not None and self.pictures:
            box = self.form.write(self._frame().to_seen(_corners(self.region)))
            if REGION not in question:
                return f"{question} {box}"
            return question.replace(REGION, box)
        if REGION in question:
            raise ValueError("the question is about a region: choose one on the image first")
        return question

    def _conversation(self, said: Said) -> Conversation:
        turns = [Turn(f"{IMAGE}\n" * s.images + s.question, s.answer) for s in self.said]
        asked = Turn(f"{IMAGE}\n" * said.images + said.question)
        conversation = Conversation((*turns, asked))
        earlier = self.config.earlier
        while earlier is not None and len(conversation.turns) > 1 + earlier:
            conversation = conversation.without_first_turn()
        room = getattr(self.model.language.config, "max_position_embeddings", None)
        if room is None:
            return conversation
        shortened = self.model.encoder.shorten(
            conversation,
            limit=room - self.answering.max_tokens,
            visual=self.model.perceiver.num_tokens,
        )
        if shortened is None:
            raise ValueError(
                f"question, images and an answer of {self.answering.max_tokens} tokens exceed the"
                f" {room} tokens of the language model: shorten one of them"
            )
        return shortened

    def _frame(self) -> Frame:
        height, width = self.pictures[self.view].size
        return Frame(self.model.fit, height, width)


def open_chat(config: ChatConfig) -> Chat:
    """A chat with the model of a folder.

    Raises:
        FileNotFoundError, ModuleNotFoundError, OSError, ValueError: as `cmid.multimodal.load`.
    """
    model = load(config.model, config.language_model).to(config.device)
    trained = read_config(config.model).get("provenance", {})
    form = BoxForm(**trained.get("boxes", {}))
    if config.box_cells is not None:
        form = replace(form, cells=config.box_cells)
    if config.earlier is None and trained.get("single_turn"):
        config = replace(config, earlier=0)
    return Chat(model, config, form)


def _corners(box: Box) -> Floats:
    x0, y0, x1, y1 = box
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
