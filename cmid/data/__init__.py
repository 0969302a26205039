"""Images: sources, their statistics, batches for pretraining, generated scenes."""

from cmid.lazy import lazily

# Imported on first use: reading folders should not need h5py, webdataset or rasterio.
__getattr__, __all__ = lazily(
    __name__,
    folder=["ImageFolder", "ImageList"],
    hdf5=["HDF5Images"],
    opening=["open_source"],
    pretrain=["PretrainData"],
    raster_windows=["RasterWindows"],
    scenes=["SceneSource"],
    source=["Image", "ImageSource", "UnreadableImageError"],
    splits=["SubsetSource", "open_split"],
    statistics=["ChannelStatistics", "MILLION_AID", "compute_statistics"],
    tar_shards=["TarShards"],
)
