"""All downstream tasks for several backbones, and one report."""
