"""Pictures of what a backbone has learned.

python tools/visualize.py reconstruction CHECKPOINT.ckpt IMAGES --out FILE.png
python tools/visualize.py attention|pca|correspondence BACKBONE IMAGES --out FILE.png
python tools/visualize.py embedding|neighbours BACKBONE IMAGES --out FILE.png

BACKBONE  an exported folder, a checkpoint (.ckpt), a published file (.pth, .safetensors),
          random:NAME, or a timm name (published weights)
IMAGES    one image (correspondence cuts two crops of it), a folder, a list, HDF5, 'scenes' ...
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cmid.boundary import error_boundary
from cmid.command_line import parse
from cmid.options import option
from cmid.visualization.config import FigureConfig


@dataclass(frozen=True)
class FileConfig:
    """Where the figure goes.

    Attributes:
        out: PNG file to write.
    """

    out: str = option()


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, draw, write the picture."""
    config, file, traceback = parse(
        FigureConfig, FileConfig, arguments=arguments, verb="visualize", description=__doc__
    )
    with error_boundary(traceback=traceback, memory="--size, --count or --max_images"):
        # After parsing: --help and typing errors answer at once.
        from cmid.visualization.figures import draw
        from cmid.visualization.saving import save_figure

        print(f"wrote {save_figure(draw(config), file.out)}")
