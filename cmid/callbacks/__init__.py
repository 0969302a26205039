"""What is watched, shown and kept while a backbone is pretrained."""

from cmid.callbacks.checkpoint import KeepCheckpoints, resolve_checkpoint
from cmid.callbacks.collapse import CollapseMonitor
from cmid.callbacks.knn import OnlineKNN
from cmid.callbacks.pictures import CurvePicture, ReconstructionPicture
from cmid.callbacks.progress import TrainingProgress
from cmid.callbacks.skipped import SkippedImages
from cmid.callbacks.throughput import ThroughputMonitor

__all__ = [
    "CollapseMonitor",
    "CurvePicture",
    "KeepCheckpoints",
    "OnlineKNN",
    "ReconstructionPicture",
    "SkippedImages",
    "ThroughputMonitor",
    "TrainingProgress",
    "resolve_checkpoint",
]
