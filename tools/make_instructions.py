#!/usr/bin/env python
"""Make conversations about labelled images."""

from cmid.commands.make_instructions import main

if __name__ == "__main__":
    main()
