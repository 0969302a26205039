#!/usr/bin/env python
"""Per-band statistics of images, as a JSON file for data.statistics."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from cmid.boundary import add_traceback_option, error_boundary


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        description=__doc__,
        epilog="python tools/compute_stats.py DIR --window 264 --bands 2 3 4 8 --out s2.json",
    )
    p.add_argument(
        "source",
        help="folder of images, .txt/.csv list, .h5 file, .tar shards, or 'scenes';"
        " with --window: GeoTIFF, folder of GeoTIFFs or a pattern",
    )
    p.add_argument("--out", required=True, help="JSON file to write")
    p.add_argument("--window", type=int, help="cut windows of this many pixels from rasters")
    p.add_argument(
        "--bands",
        type=lambda text: int(text) if text.isdecimal() else text,
        nargs="+",
        help="bands of the rasters, by name or counted from 1",
    )
    p.add_argument("--sensor", help="of the rasters, such as sentinel2_l2a (cmid.data.sensors)")
    p.add_argument("--nodata", type=float, help="overrides the rasters' nodata value")
    p.add_argument("--max-images", type=int, help="read only so many images, drawn at random")
    p.add_argument(
        "--on-error", choices=["error", "skip"], default="error", help="unreadable images"
    )
    add_traceback_option(p)
    return p


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, compute, write JSON, print a table."""
    args = parser().parse_args(arguments)
    if args.window is None and (args.bands or args.sensor or args.nodata is not None):
        raise SystemExit("error: --bands, --sensor and --nodata are of rasters: give --window too")

    options = (
        {}
        if args.window is None
        else {
            "window": args.window,
            "bands": args.bands,
            "sensor": args.sensor,
            "nodata": args.nodata,
        }
    )
    with error_boundary(traceback=args.traceback, memory="--max-images, or --window"):
        from cmid.data import compute_statistics, open_source

        source = open_source(args.source, **options)
        statistics = compute_statistics(source, max_images=args.max_images, on_error=args.on_error)
        statistics.to_json(args.out)
    print(
        f"{statistics.num_images} images ({statistics.num_skipped} unreadable),"
        f" {statistics.num_pixels} pixels, {statistics.kind}"
    )
    print(f"{'band':>4} {'mean':>9} {'std':>9} {'low':>11} {'high':>11} {'min':>11} {'max':>11}")
    columns = zip(
        statistics.mean,
        statistics.std,
        statistics.low,
        statistics.high,
        statistics.minimum,
        statistics.maximum,
        strict=True,
    )
    for band, (mean, std, *rest) in enumerate(columns, start=1):
        print(f"{band:4} {mean:9.4f} {std:9.4f} " + " ".join(f"{value:11.4g}" for value in rest))
    print(f"written: {args.out}")


if __name__ == "__main__":
    main()
