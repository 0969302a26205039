#!/usr/bin/env python
"""Test what tools/train.py trained."""

from benchmarks.commands.test import main

if __name__ == "__main__":
    main()
