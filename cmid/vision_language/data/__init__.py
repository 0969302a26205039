"""Images with captions and described regions: sources, views, batches, conversion."""

from importlib import import_module
from typing import Any

# Imported on first use: a table of captions should not need webdataset, or lightning.
_HOMES = {
    "BoxLimitConfig": "boxes",
    "CaptionShards": "shards",
    "CaptionTable": "captions",
    "CocoRegions": "coco",
    "ImageText": "source",
    "ImageTextData": "datamodule",
    "ImageTextSource": "source",
    "ImageTextView": "view",
    "KarpathyCaptions": "captions",
    "Region": "source",
    "RegionTexts": "region_texts",
    "SceneTexts": "scenes",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
