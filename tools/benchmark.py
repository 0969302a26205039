#!/usr/bin/env python
"""Fine-tune one or several backbones on all downstream tasks, and compare them in one report."""

from benchmarks.commands.benchmark import main

if __name__ == "__main__":
    main()
