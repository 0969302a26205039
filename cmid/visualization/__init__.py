"""Figures from models, images and logs."""
