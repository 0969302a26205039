"""Measures of frozen features."""

from cmid.evaluation.cache import cached_features
from cmid.evaluation.collapse import effective_rank, relative_std
from cmid.evaluation.features import PooledFeatures, extract_features
from cmid.evaluation.knn import knn_accuracy, knn_predict, knn_scores
from cmid.evaluation.linear import few_shot_accuracy, fit_linear, linear_probe
from cmid.evaluation.multilabel import (
    mean_average_precision,
    multilabel_scores,
    read_multilabels,
)
from cmid.evaluation.retrieval import clustering_nmi, retrieval_scores
from cmid.evaluation.tasks import TASKS, Settings, evaluate

__all__ = [
    "TASKS",
    "PooledFeatures",
    "Settings",
    "cached_features",
    "clustering_nmi",
    "effective_rank",
    "evaluate",
    "extract_features",
    "few_shot_accuracy",
    "fit_linear",
    "knn_accuracy",
    "knn_predict",
    "knn_scores",
    "linear_probe",
    "mean_average_precision",
    "multilabel_scores",
    "read_multilabels",
    "relative_std",
    "retrieval_scores",
]
