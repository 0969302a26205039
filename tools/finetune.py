#!/usr/bin/env python
"""Fine-tune a backbone for scene classification; without a configuration, on generated scenes."""

from benchmarks.commands.finetune import main

if __name__ == "__main__":
    main()
