#!/usr/bin/env python
"""Chat with a multimodal model about images."""

from cmid.commands.chat import main

if __name__ == "__main__":
    main()
