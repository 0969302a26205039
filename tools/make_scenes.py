#!/usr/bin/env python
"""Write generated scenes with their labels, as a benchmark's data lies on disk."""

from benchmarks.commands.make_scenes import main

if __name__ == "__main__":
    main()
