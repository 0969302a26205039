#!/usr/bin/env python
"""Map whole scenes: embeddings of a backbone, or classes of a segmentation model."""

from benchmarks.commands.map import main

if __name__ == "__main__":
    main()
