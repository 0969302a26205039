#!/usr/bin/env python
"""Train a scorer of image-text pairs on preferences; without arguments, on generated scenes."""

from cmid.commands.train_scorer import main

if __name__ == "__main__":
    main()
