#!/usr/bin/env python
"""Search embeddings of whole scenes by example."""

from benchmarks.commands.search import main

if __name__ == "__main__":
    main()
