#!/usr/bin/env python
"""Train a configuration of OpenMMLab, on a backbone of ours or any other timm backbone."""

from benchmarks.commands.train import main

if __name__ == "__main__":
    main()
