#!/usr/bin/env python
"""Turn detection annotations into region texts: JSON in the form of MGRS-200k."""

from benchmarks.commands.convert_regions import main

if __name__ == "__main__":
    main()
