"""Texts that class names are put into."""

from __future__ import annotations

from pathlib import Path

from cmid.data.templates import PLACE, check_templates
from cmid.data.text_files import stripped_lines

CATEGORY_TEMPLATES = (
    "a satellite image of {}",
    "an aerial image of {}",
    "an overhead view of {}",
    "{} seen from above",
)
# While a model is trained: two cost little.
ONLINE_TEMPLATES = ("an aerial image of {}", "a satellite photo of {}.")
SATELLITE = ("a satellite photo of {}.", "a satellite image of {}")
TEMPLATES: dict[str, tuple[str, ...]] = {
    "satellite": SATELLITE,
    "aerial": ("an aerial image of {}", "{} seen from above"),
    "scenes": ("an aerial image with {}", "mostly {}, seen from above"),
    "plain": ("{}",),
}


def read_templates(name: str) -> tuple[str, ...]:
    """Templates by name.

    Args:
        name: a key of `TEMPLATES`; ``imagenet`` for the 80 templates of CLIP; a text that holds
            ``{}``; or a file with one template a line.

    Raises:
        FileNotFoundError: none of these.
        ModuleNotFoundError: ``imagenet`` comes with open_clip, which is not installed.
    """
    if name in TEMPLATES:
        return TEMPLATES[name]
    if name == "imagenet":
        try:
            from open_clip import OPENAI_IMAGENET_TEMPLATES
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "the imagenet templates come with open_clip: pip install 'cmid[vision-language]'"
            ) from error
        return tuple(template(PLACE) for template in OPENAI_IMAGENET_TEMPLATES)
    if PLACE in name:
        return (name,)
    if Path(name).is_file():
        return check_templates(stripped_lines(name))
    raise FileNotFoundError(
        f"{name} is neither a set of templates ({', '.join(TEMPLATES)}, imagenet), nor a text with"
        " {}, nor a file"
    )
