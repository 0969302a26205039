#!/usr/bin/env python
"""Export an encoder: a checkpoint of ours, a published one, or an earlier export."""

from cmid.commands.export import main

if __name__ == "__main__":
    main()
