"""Image-text data filtered by a learned score: what is kept is a view, no copy."""
