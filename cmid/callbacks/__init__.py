"""What is watched, shown and kept while a backbone is pretrained."""

from cmid.callbacks.checkpoint import KeepCheckpoints as KeepCheckpoints
from cmid.callbacks.checkpoint import resolve_checkpoint as resolve_checkpoint
from cmid.callbacks.collapse import CollapseMonitor as CollapseMonitor
from cmid.callbacks.knn import OnlineKNN as OnlineKNN
from cmid.callbacks.pictures import CurvePicture as CurvePicture
from cmid.callbacks.pictures import ReconstructionPicture as ReconstructionPicture
from cmid.callbacks.progress import TrainingProgress as TrainingProgress
from cmid.callbacks.skipped import SkippedImages as SkippedImages
from cmid.callbacks.throughput import ThroughputMonitor as ThroughputMonitor
