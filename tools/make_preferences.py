#!/usr/bin/env python
"""Make preferences for training scorers: near-duplicates out, several captioners, a judge."""

from cmid.commands.make_preferences import main

if __name__ == "__main__":
    main()
