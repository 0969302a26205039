#!/usr/bin/env python
"""Evaluate image-text models: one task on your data, or a whole suite with a report.

    python tools/evaluate_clip.py --suite scenes --model SPEC [SPEC ...] --out DIR

--help tells the tasks and options. Needs the extra vision-language.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

from benchmarks.vision_language.arguments import parse_arguments
from cmid.boundary import error_boundary


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, evaluate, print tables, write the report."""
    given = sys.argv[1:] if arguments is None else [*arguments]
    args = parse_arguments(given)
    with error_boundary(
        "evaluate_clip",
        traceback=args.traceback,
        memory="--batch_size",
        again="run the same command again",
    ):
        # After parsing: --help and typing errors answer at once.
        from benchmarks.vision_language.command import run

        run(args, shlex.join(["python", "tools/evaluate_clip.py", *given]))


if __name__ == "__main__":
    main()
