#!/usr/bin/env python
"""Per-band statistics of images, as a JSON file for data.statistics."""

from cmid.commands.compute_stats import main

if __name__ == "__main__":
    main()
