"""Measure frozen features of one or several backbones on labelled images.

python tools/evaluate.py BACKBONE [BACKBONE ...] DATA --tasks knn linear

BACKBONE  an exported folder, a checkpoint (.ckpt), random:NAME, or a timm name (published weights)
DATA      a folder with train/ and test/ (or val/), any labelled source (divided 80/20), or 'scenes'
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from cmid.boundary import add_traceback_option, error_boundary

TASKS = ("knn", "linear", "fewshot", "retrieval", "clustering")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("backbones", nargs="+", metavar="BACKBONE")
    parser.add_argument("data", metavar="DATA")
    parser.add_argument("--test", help="test part, when it does not lie beside train/")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), metavar="TASK")
    parser.add_argument(
        "--multilabel",
        help="CSV with several labels an image (tasks without few-shot and clustering)",
    )
    parser.add_argument("--size", type=int, help="pixels per side; default: the backbone's")
    parser.add_argument("--k", type=int, default=20, help="neighbours (default: %(default)s)")
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 5, 10])
    parser.add_argument("--seeds", type=int, default=10, help="draws of few-shot images")
    parser.add_argument("--seed", type=int, default=0, help="of the division and untrained weights")
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--num_workers", type=int, default=0)
    parser.add_argument(
        "--precision", choices=["32-true", "bf16-mixed", "16-mixed"], default="32-true"
    )
    parser.add_argument("--accelerator", default="auto", help="cpu, cuda, mps (default: auto)")
    parser.add_argument("--devices", type=_devices, default="auto", help="how many (default: all)")
    parser.add_argument("--cache", help="folder for features; a second run reads them")
    parser.add_argument("--out", help="JSON file to write")
    add_traceback_option(parser)
    return parser


def _devices(text: str) -> int | str:
    return text if text == "auto" else int(text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, evaluate, print a table, write JSON."""
    args = _parser().parse_args(arguments)

    again = "the same command goes on with the features in --cache" if args.cache else ""
    with error_boundary(
        "evaluate", traceback=args.traceback, memory="--batch_size or --size", again=again
    ):
        # After parsing: --help and typing errors answer at once.
        from cmid.evaluation.command import run

        run(args)


if __name__ == "__main__":
    main()
