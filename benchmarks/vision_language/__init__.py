"""Zero-shot classification, retrieval, open-vocabulary segmentation and regions of CLIP models."""
