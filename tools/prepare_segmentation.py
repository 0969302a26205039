#!/usr/bin/env python
"""Prepare Potsdam, Vaihingen, LoveDA or iSAID for segmentation: img_dir and ann_dir."""

from benchmarks.commands.prepare_segmentation import main

if __name__ == "__main__":
    main()
