#!/usr/bin/env python
"""Rasters rewritten so that windows of them are read fast."""

from cmid.commands.pack_rasters import main

if __name__ == "__main__":
    main()
