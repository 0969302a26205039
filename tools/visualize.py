"""Pictures of what a backbone has learned.

python tools/visualize.py reconstruction CHECKPOINT.ckpt IMAGES --out FILE.png
python tools/visualize.py attention|pca|correspondence BACKBONE IMAGES --out FILE.png
python tools/visualize.py embedding|neighbours BACKBONE IMAGES --out FILE.png

BACKBONE  an exported folder, a checkpoint (.ckpt), random:NAME, or a timm name (published weights)
IMAGES    one image (correspondence cuts two crops of it), a folder, a list, HDF5, 'scenes' ...
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from cmid.boundary import add_traceback_option, error_boundary

KINDS = ("reconstruction", "attention", "correspondence", "pca", "embedding", "neighbours")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("backbone")
    parser.add_argument("images")
    parser.add_argument("--out", required=True, help="PNG file to write")
    parser.add_argument(
        "--size", type=int, help="pixels per side; larger ones give finer dense maps"
    )
    parser.add_argument("--count", type=int, default=6, help="images or queries (default: 6)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of images")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, mps (default: cpu)")
    parser.add_argument("--block_size", type=int, default=16, help="masked blocks, in pixels")
    parser.add_argument("--mask_ratio", type=float, default=0.3, help="share of masked blocks")
    parser.add_argument(
        "--cell", type=int, nargs=2, metavar=("ROW", "COLUMN"), help="for the similarity map"
    )
    parser.add_argument("--method", choices=["tsne", "umap"], default="tsne", help="of embedding")
    parser.add_argument("--max_images", type=int, default=2000, help="of embedding and neighbours")
    parser.add_argument("--neighbours", type=int, default=8, help="per query (default: 8)")
    add_traceback_option(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, draw, write the picture."""
    args = _parser().parse_args(arguments)

    with error_boundary(
        "visualize", traceback=args.traceback, memory="--size, --count or --max_images"
    ):
        # After parsing: --help and typing errors answer at once.
        from cmid.visualization.command import draw
        from cmid.visualization.saving import save_figure

        print(f"wrote {save_figure(draw(args), args.out)}")


if __name__ == "__main__":
    main()
