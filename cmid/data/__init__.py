"""Images: sources, their statistics, batches for pretraining, generated scenes."""

from importlib import import_module
from typing import Any

# Imported on first use: reading folders should not need h5py, webdataset or rasterio.
_HOMES = {
    "ChannelStatistics": "statistics",
    "HDF5Images": "hdf5",
    "Image": "source",
    "ImageFolder": "folder",
    "ImageList": "folder",
    "ImageSource": "source",
    "MILLION_AID": "statistics",
    "PretrainData": "pretrain",
    "RasterWindows": "raster_windows",
    "SceneSource": "scenes",
    "SubsetSource": "splits",
    "TarShards": "tar_shards",
    "UnreadableImageError": "source",
    "compute_statistics": "statistics",
    "open_source": "opening",
    "open_split": "splits",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
