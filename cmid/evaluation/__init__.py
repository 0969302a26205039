"""Measures of frozen features, and of image-text models."""

from importlib import import_module
from typing import Any

# Imported on first use: a command line is read before torch is there.
_HOMES = {
    "PooledFeatures": "features",
    "MeasureConfig": "tasks",
    "SlidingConfig": "config",
    "TASKS": "tasks",
    "Vocabulary": "open_vocabulary",
    "cached_features": "cache",
    "class_probabilities": "open_vocabulary",
    "classify_regions": "region_classification",
    "clustering_nmi": "retrieval",
    "effective_rank": "collapse",
    "embed_classes": "image_text",
    "embed_images": "image_text",
    "embed_texts": "image_text",
    "evaluate": "tasks",
    "evaluate_segmentation": "segmentation_scores",
    "extract_features": "features",
    "few_shot_accuracy": "linear",
    "fit_linear": "linear",
    "image_text_retrieval": "image_text_retrieval",
    "knn_accuracy": "knn",
    "knn_predict": "knn",
    "knn_scores": "knn",
    "linear_probe": "linear",
    "mean_average_precision": "multilabel",
    "multilabel_scores": "multilabel",
    "read_multilabels": "multilabel",
    "relative_std": "collapse",
    "retrieval_scores": "retrieval",
    "zero_shot_classification": "zero_shot",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
