"""Measures of frozen features, and of image-text models."""

from cmid.lazy import lazily

# Imported on first use: a command line is read before torch is there.
__getattr__, __all__ = lazily(
    __name__,
    cache=["cached_features"],
    collapse=["effective_rank", "relative_std"],
    config=["SlidingConfig"],
    correspondence=["correspondence_results", "matching_cells", "nearest_cells"],
    features=["PooledFeatures", "extract_features"],
    intervals=["bootstrap", "proportion"],
    image_text=["embed_classes", "embed_images", "embed_texts"],
    image_text_retrieval=["image_text_retrieval"],
    knn=["knn_accuracy", "knn_scores"],
    linear=["few_shot_accuracy", "fit_linear", "linear_probe"],
    multilabel=["mean_average_precision", "multilabel_scores", "read_multilabels"],
    open_vocabulary=["Vocabulary", "class_probabilities"],
    region_classification=["classify_regions"],
    results=["Results", "read_results"],
    retrieval=["clustering_nmi", "retrieval_scores"],
    score=["Score", "mean_score"],
    segmentation_scores=["evaluate_segmentation"],
    tasks=["MeasureConfig", "TASKS", "evaluate"],
    zero_shot=["zero_shot_classification"],
)
