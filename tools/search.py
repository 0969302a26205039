#!/usr/bin/env python
"""Search embeddings of whole scenes, or classify them by a few clicks."""

from benchmarks.commands.search import main

if __name__ == "__main__":
    main()
