"""Test what tools/train.py trained.

python tools/test.py configs/classification/mmpretrain_scenes.py work_dirs/NAME/epoch_4.pth
python tools/test.py CONFIG CHECKPOINT --show_dir pictures --tta

The configuration has to be the trained one, with the same --backbone and --cfg_options; the work
dir keeps it written out, and that file serves as CONFIG, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cmid.command_line import command
from cmid.options import option


@dataclass(frozen=True)
class TestConfig:
    """A test run of OpenMMLab.

    Attributes:
        config: a file of configs/.
        checkpoint: .pth of the work dir.
        backbone: what tools/train.py takes (default: the configuration's).
        work_dir: folder of the log (default: work_dirs/CONFIG).
        show_dir: paint every prediction as PNG into this folder.
        tta: average over flips and scales.
        launcher: launcher of distributed tests.
        cfg_options: overrides of the configuration.
    """

    config: str
    checkpoint: str
    backbone: str | None = None
    work_dir: str | None = None
    show_dir: str | None = None
    tta: bool = False
    launcher: Literal["none", "pytorch", "slurm", "mpi"] = "none"
    cfg_options: tuple[str, ...] = option((), metavar="KEY=VALUE")


@command(TestConfig, memory="--cfg_options test_dataloader.batch_size=N")
def main(given: TestConfig) -> None:
    """Test, and paint what is asked for."""
    from benchmarks.openmmlab.experiment import (
        build_runner,
        load_config,
        paint,
        parse_options,
        use_tta,
    )

    if not Path(given.checkpoint).is_file():
        raise FileNotFoundError(f"no checkpoint {given.checkpoint}")
    config = load_config(
        given.config,
        backbone=given.backbone,
        options=parse_options(given.cfg_options),
        work_dir=given.work_dir,
    )
    config.launcher = given.launcher
    if given.show_dir:
        paint(config, given.show_dir)
    if given.tta:
        use_tta(config)
    build_runner(config, trained=given.checkpoint).test()
