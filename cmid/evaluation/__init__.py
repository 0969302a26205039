"""Measures of frozen features, and of image-text models."""

from cmid.evaluation.cache import cached_features
from cmid.evaluation.collapse import effective_rank, relative_std
from cmid.evaluation.features import PooledFeatures, extract_features
from cmid.evaluation.image_text import (
    embed_classes,
    embed_images,
    embed_texts,
)
from cmid.evaluation.image_text_retrieval import image_text_retrieval
from cmid.evaluation.knn import knn_accuracy, knn_predict, knn_scores
from cmid.evaluation.linear import few_shot_accuracy, fit_linear, linear_probe
from cmid.evaluation.multilabel import (
    mean_average_precision,
    multilabel_scores,
    read_multilabels,
)
from cmid.evaluation.open_vocabulary import Sliding, Vocabulary, class_probabilities
from cmid.evaluation.region_classification import classify_regions
from cmid.evaluation.retrieval import clustering_nmi, retrieval_scores
from cmid.evaluation.segmentation_scores import evaluate_segmentation
from cmid.evaluation.tasks import TASKS, Settings, evaluate
from cmid.evaluation.zero_shot import zero_shot_classification

__all__ = [
    "TASKS",
    "PooledFeatures",
    "Settings",
    "Sliding",
    "Vocabulary",
    "cached_features",
    "class_probabilities",
    "classify_regions",
    "clustering_nmi",
    "effective_rank",
    "embed_classes",
    "embed_images",
    "embed_texts",
    "evaluate",
    "evaluate_segmentation",
    "extract_features",
    "few_shot_accuracy",
    "fit_linear",
    "image_text_retrieval",
    "knn_accuracy",
    "knn_predict",
    "knn_scores",
    "linear_probe",
    "mean_average_precision",
    "multilabel_scores",
    "read_multilabels",
    "relative_std",
    "retrieval_scores",
    "zero_shot_classification",
]
