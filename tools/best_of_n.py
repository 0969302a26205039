#!/usr/bin/env python
"""Answer questions about images several times and pick the best answer."""

from cmid.commands.best_of_n import main

if __name__ == "__main__":
    main()
