"""Measures of frozen features."""

from cmid.evaluation.collapse import effective_rank, relative_std
from cmid.evaluation.features import extract_features
from cmid.evaluation.knn import knn_accuracy, knn_predict

__all__ = ["effective_rank", "extract_features", "knn_accuracy", "knn_predict", "relative_std"]
