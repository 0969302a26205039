"""Images with captions and described regions: sources, views, batches, conversion."""

from cmid.lazy import lazily

# Imported on first use: a table of captions should not need webdataset, or lightning.
__getattr__, __all__ = lazily(
    __name__,
    boxes=["BoxLimitConfig"],
    captions=["CaptionTable", "KarpathyCaptions"],
    coco=["CocoRegions"],
    conversations=["ConversationTexts"],
    datamodule=["ImageTextData"],
    folder=["CaptionFolder"],
    joined=["JoinedTexts"],
    opening=["open_texts"],
    parquet=["CaptionParquet"],
    region_texts=["RegionTexts"],
    scenes=["SceneTexts"],
    selection=["SelectedTexts"],
    shards=["CaptionShards"],
    source=["ImageText", "ImageTextSource", "Region"],
    view=["ImageTextView"],
)
