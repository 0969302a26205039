#!/usr/bin/env python
"""Train a CLIP on images, texts and regions (FarSLIP); without arguments, on generated scenes."""

from cmid.commands.train_clip import main

if __name__ == "__main__":
    main()
