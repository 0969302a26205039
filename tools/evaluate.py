#!/usr/bin/env python
"""Measure frozen features of one or several backbones on labelled images."""

from cmid.commands.evaluate import main

if __name__ == "__main__":
    main()
