#!/usr/bin/env python
"""Pictures of what a backbone has learned."""

from cmid.commands.visualize import main

if __name__ == "__main__":
    main()
