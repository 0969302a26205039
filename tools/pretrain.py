#!/usr/bin/env python
"""Pretrain a backbone with CMID; without arguments, on generated scenes for three minutes."""

from cmid.commands.pretrain import main

if __name__ == "__main__":
    main()
