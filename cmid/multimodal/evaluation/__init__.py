"""Scores of models that answer questions about images: ours, those of Hugging Face, endpoints."""
