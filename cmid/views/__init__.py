"""Two augmented views, the geometry that links them, and block masks."""

from cmid.lazy import lazily

__getattr__, __all__ = lazily(
    __name__,
    batch=["DeviceViews", "Views"],
    colour=["ColourAugmentation", "Standardize"],
    config=["ColourConfig", "CropConfig", "ViewColourConfig", "strong_colour"],
    crops=["TwoViews"],
    geometry=["cell_centres", "gather_cells", "match_positions"],
    masks=["block_mask", "expand_mask", "fill_masked", "num_masked_blocks"],
)
