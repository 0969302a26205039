"""Multimodal models of this project among several answers, and trained by rewards."""
