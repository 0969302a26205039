#!/usr/bin/env python
"""Evaluate a model that answers questions about images: ours, Hugging Face's, or an endpoint's."""

from benchmarks.commands.evaluate_multimodal import main

if __name__ == "__main__":
    main()
