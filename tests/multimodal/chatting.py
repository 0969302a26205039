"""A tiny model that has one answer by heart, for chats."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from cmid.multimodal.boxes import BoxForm
from cmid.multimodal.building import MultimodalConfig, build_model
from cmid.multimodal.chat.session import Chat
from cmid.multimodal.chat.settings import ChatConfig
from cmid.multimodal.language import LanguageConfig
from cmid.multimodal.perceiver import PerceiverConfig
from cmid.multimodal.tower import TowerConfig

ANSWER = "a <b>ship</b> at [10,20,60,70], a pier at {<20><30><80><50>|<30>}"
QUESTION = "Where is the ship?"


def picture(height: int = 60, width: int = 90) -> Image.Image:
    """A dark blue image."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[..., 2] = 60
    return Image.fromarray(pixels)


def taught(**config: object) -> Chat:
    """A chat with a model that answers `QUESTION` about any image by `ANSWER`."""
    torch.manual_seed(0)
    network = MultimodalConfig(
        tower=TowerConfig("random:test_resnet", size=32),
        perceiver=PerceiverConfig(queries=(2, 2, 2), width=32, heads=4, layers=1),
        language=LanguageConfig("tiny:llama:64x2"),
    )
    model = build_model(network, texts=[QUESTION, ANSWER] * 4)
    batch = model.batch([[(QUESTION, ANSWER)]], [picture()])
    learned = [p for p in model.language.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=5e-3)
    for _ in range(40):
        optimizer.zero_grad()
        model(batch).loss.backward()
        optimizer.step()
    return Chat(model.eval(), ChatConfig("taught", **config), BoxForm(cells=100))  # type: ignore[arg-type]
