"""Answers in words, compared with the true ones: words, classes, choices, numbers, boxes."""

from cmid.lazy import lazily

__getattr__, __all__ = lazily(
    __name__,
    blind=["BlindAnswers"],
    grounding=["box_iou", "matched_iou"],
    judging=["Judgement", "judge"],
    matching=["named", "normal", "read_letter", "read_number", "same"],
    measures=["Measure", "confusion", "measure"],
    question=["Question", "rotations"],
)
