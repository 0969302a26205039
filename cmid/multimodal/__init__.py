"""Multimodal language models: LHRS-Bot, LHRS-Bot-Nova, and small ones of the same build."""

from cmid.lazy import lazily

__getattr__, __all__ = lazily(
    __name__,
    building=["MultimodalConfig", "build_model"],
    conversation=["Conversation", "Turn"],
    folder=["load", "save_model"],
    model=["MultimodalModel"],
)
