#!/usr/bin/env python
"""Train a vision-language model by rewards (GRPO); without arguments, on generated scenes."""

from cmid.commands.train_grpo import main

if __name__ == "__main__":
    main()
