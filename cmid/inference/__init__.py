"""Maps of whole scenes: tiles in, stitched rasters out, in bounded memory."""
