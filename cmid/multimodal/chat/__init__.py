"""Chats with a multimodal model, in the terminal and on a page."""

from cmid.lazy import lazily

__getattr__, __all__ = lazily(
    __name__,
    pictures=["Picture", "open_picture"],
    session=["Chat", "open_chat"],
    settings=["ChatConfig"],
)
