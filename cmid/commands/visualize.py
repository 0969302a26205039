"""Pictures of what a backbone has learned.

python tools/visualize.py reconstruction CHECKPOINT.ckpt IMAGES --out FILE.png
python tools/visualize.py attention|pca|correspondence BACKBONE IMAGES --out FILE.png
python tools/visualize.py embedding|neighbours BACKBONE IMAGES --out FILE.png

BACKBONE  an exported folder, hf-hub:OWNER/NAME (one that was uploaded), a checkpoint (.ckpt),
          a published file (.pth, .safetensors),
          random: before one of these (the same network untrained), random:NAME (of timm),
          or a timm name (published weights)
IMAGES    one image (correspondence cuts two crops of it), a folder, a list, HDF5, 'scenes' ...
"""

from __future__ import annotations

from dataclasses import dataclass

from cmid.command_line import command
from cmid.options import option
from cmid.visualization.config import FigureConfig


@dataclass(frozen=True)
class FileConfig:
    """Where the figure goes.

    Attributes:
        out: PNG file to write.
    """

    out: str = option()


@command(FigureConfig, FileConfig, memory="--size, --count or --max_images")
def main(config: FigureConfig, file: FileConfig) -> None:
    """Draw, write the picture."""
    # After parsing: --help and typing errors answer at once.
    from cmid.visualization.figures import draw
    from cmid.visualization.saving import save_figure

    print(f"wrote {save_figure(draw(config), file.out)}")
