#!/usr/bin/env python
"""Train a multimodal language model; without arguments, a small one on generated scenes."""

from cmid.commands.train_multimodal import main

if __name__ == "__main__":
    main()
