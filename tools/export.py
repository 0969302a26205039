"""Export the encoder of a CMID checkpoint.

python tools/export.py CHECKPOINT OUT --format timm [--which teacher|student] [--overwrite]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, export, print how to load the result."""
    parser = argparse.ArgumentParser(description="Export the encoder of a CMID checkpoint.")
    parser.add_argument("checkpoint", help="Lightning checkpoint (.ckpt)")
    parser.add_argument("out", help="folder to write")
    parser.add_argument("--format", choices=["timm"], default="timm", help="default: %(default)s")
    parser.add_argument(
        "--which", choices=["teacher", "student"], default="student", help="default: %(default)s"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export")
    args = parser.parse_args(arguments)

    # After parsing: --help and typing errors answer at once.
    from cmid.export import to_timm

    try:
        folder = to_timm(args.checkpoint, args.out, which=args.which, overwrite=args.overwrite)
    except (OSError, ValueError) as error:
        sys.exit(f"export: {error}")
    print(f'model = timm.create_model("local-dir:{folder}", pretrained=True)')


if __name__ == "__main__":
    main()
