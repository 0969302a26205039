#!/usr/bin/env python
"""Evaluate image-text models: one task on your data, or a whole suite with a report."""

from benchmarks.commands.evaluate_clip import main

if __name__ == "__main__":
    main()
