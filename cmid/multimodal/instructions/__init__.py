"""Conversations made of labelled images: true, balanced, in varied wordings."""
