#!/usr/bin/env python
"""Prepare detection data: DOTA's images as tiles, or DIOR's XML files in COCO's form."""

from benchmarks.commands.prepare_detection import main

if __name__ == "__main__":
    main()
