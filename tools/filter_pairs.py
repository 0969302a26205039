#!/usr/bin/env python
"""Keep the best image-text pairs by a learned score."""

from cmid.commands.filter_pairs import main

if __name__ == "__main__":
    main()
