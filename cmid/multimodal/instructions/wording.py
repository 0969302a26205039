"""Questions and answers in varied wordings; an answer never depends on which was drawn."""

from __future__ import annotations

import random

from cmid.data.scenes.phrases import plural

# Tags of the published models, see arXiv:2402.02544.
TAGS = {
    "classification": "[CLS] ",
    **dict.fromkeys(("grounding", "honesty", "referring"), "[VG] "),
    **dict.fromkeys(("region", "region_caption"), "[Identify] "),
    **dict.fromkeys(("caption", "change", "change_caption"), ""),
}
_OTHER_TAG = "[VQA] "
QUESTIONS: dict[str, tuple[str, ...]] = {
    "classification": (
        "What kind of place is this?",
        "Which class does this image belong to?",
        "Classify the scene.",
    ),
    "presence": (
        "Are there any {names}?",
        "Can {names} be seen in the image?",
        "Does the image show any {names}?",
    ),
    "cover_presence": (
        "Is there any {name} in the image?",
        "Does the image show {name}?",
        "Can {name} be seen?",
    ),
    "count": (
        "How many {names} are there?",
        "What is the number of {names} in the image?",
        "Count the {names}.",
    ),
    "comparison": (
        "Are there more {names} than {others}?",
        "Do the {names} outnumber the {others}?",
    ),
    "cover_comparison": (
        "Does {name} cover more of the ground than {other}?",
        "Is there more {name} than {other} in the image?",
    ),
    "cover": ("What covers most of the ground?", "Which class takes up most of the image?"),
    "location": (
        "In which part of the image is the {name}?",
        "Where in the image does the {name} lie, in words?",
    ),
    # Honest answers are to the same questions as boxes are.
    "grounding": (
        "Where are the {names}? Give boxes.",
        "Find all {names} in the image.",
        "Mark every {name} by a box.",
    ),
    "referring": ("Where is {phrase}? Give its box.", "Find {phrase}.", "Mark {phrase} by a box."),
    "region": ("What is at {box}?", "Which object is inside {box}?", "Name the object at {box}."),
    "region_caption": ("Describe the object at {box}.", "What can be said of the object at {box}?"),
    "choice": ("Which of these fits the image best?", "Choose the class of the scene."),
    "object_choice": ("Which of these can be seen?", "Choose what the image shows."),
    "caption": ("Describe the image.", "What does the image show?", "Write a caption."),
    "change": (
        "Has anything changed between the two images?",
        "Do the images differ in what is on the ground?",
    ),
    "change_caption": (
        "What has changed from the first image to the second?",
        "Describe the changes between the images.",
    ),
}
QUESTIONS["honesty"] = QUESTIONS["grounding"]
REFUSALS = (
    "There are no {names} in the image.",
    "The image shows no {name}.",
    "I cannot find any {names} here.",
)


def question(task: str, draws: random.Random, *, tags: bool = False, **words: str) -> str:
    """A question of a task.

    Args:
        words: ``name`` and ``other`` also give their plurals, ``names`` and ``others``.
    """
    text = draws.choice(QUESTIONS[task]).format(**with_plurals(words))
    return TAGS.get(task, _OTHER_TAG) + text if tags else text


def refusal(draws: random.Random, name: str) -> str:
    """An answer that says that something is not there."""
    return draws.choice(REFUSALS).format(**with_plurals({"name": name}))


def with_plurals(words: dict[str, str]) -> dict[str, str]:
    """``names`` and ``others`` beside ``name`` and ``other``."""
    several = {f"{key}s": plural(words[key]) for key in ("name", "other") if key in words}
    return {**words, **several}
