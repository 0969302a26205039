"""Conversations about images to train and to validate on."""

from cmid.lazy import lazily

__getattr__, __all__ = lazily(
    __name__,
    datamodule=["MultimodalData"],
    files=["ConversationFile"],
    joined=["BenchQuestions", "RsvqaQuestions"],
    mixture=["Mixture"],
    scenes=["SceneConversations"],
    source=["ConversationSource", "Example"],
)
