"""What the Hugging Face hub shows of an export: what it is, and how it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCardData

CARD_FILE = "README.md"

_LOADED = """
## Loading

    import timm
    model = timm.create_model("hf-hub:OWNER/NAME", pretrained=True)      # or local-dir:FOLDER
    model = timm.create_model("hf-hub:OWNER/NAME", pretrained=True, num_classes=45)
    model = timm.create_model("hf-hub:OWNER/NAME", pretrained=True, features_only=True)

Stored values become `(value - low) / (high - low)`, and then `(that - mean) / std`, band by band:

"""
_OPEN = """
To be written by whoever publishes it: the images that it was trained on and their terms, the
licence of the weights, and what they are good for.
"""


def model_card(config: Mapping[str, Any]) -> str:
    """Markdown with the hub's metadata.

    Args:
        config: content of an export's ``config.json``.
    """
    about, known = config["cmid"], config["pretrained_cfg"]
    data = ModelCardData(
        library_name="timm",
        pipeline_tag="image-feature-extraction",
        tags=["remote-sensing", "self-supervised-learning"],
    )
    bands, height, width = known["input_size"]
    args = {k: v for k, v in config["model_args"].items() if k not in ("in_chans", "num_classes")}
    facts = {
        "architecture": f"{config['architecture']}, {about['parameters'] / 1e6:.1f} M parameters",
        "arguments": ", ".join(f"`{key}={value!r}`" for key, value in args.items()),
        "features": config["num_features"],
        "images": f"{bands} bands; {width} x {height} pixels in training",
        "values": about.get("kind"),
        "sensor": about.get("sensor"),
        "method": about.get("method"),
        "steps": about.get("global_step"),
        "weights of losses": _in_words(about.get("weights")),
        "network": about.get("which"),
    }
    rows = [f"| {name} | {value} |\n" for name, value in facts.items() if value]
    method = f", pretrained with {about['method']}" if about.get("method") else ""
    return (
        f"---\n{data.to_yaml()}\n---\n\n# {config['architecture']}{method}\n\n"
        "A backbone for remote-sensing images, written by cmid.\n\n| | |\n| --- | --- |\n"
        + "".join(rows)
        + _LOADED
        + _band_table(config)
        + _OPEN
    )


def _in_words(value: Any) -> str:
    """What a method says of itself, in whatever form."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_in_words(each)}" for name, each in value.items())
    return f"{value:g}" if isinstance(value, int | float) else str(value or "")


def _band_table(config: Mapping[str, Any]) -> str:
    """A row for each band."""
    about, known = config["cmid"], config["pretrained_cfg"]
    names = about.get("bands") or [str(index + 1) for index in range(known["input_size"][0])]
    columns = (names, about["low"], about["high"], known["mean"], known["std"])
    rows = [
        f"| {name} | {low:g} | {high:g} | {mean:.5g} | {std:.5g} |\n"
        for name, low, high, mean, std in zip(*columns, strict=True)
    ]
    head = "| band | low | high | mean | std |\n| --- | ---: | ---: | ---: | ---: |\n"
    return head + "".join(rows)
