"""Options of tools/pretrain.py that meet in runs of two processes, started as torchrun does.

All runs share two processes, whose start costs more than the training. The last run ends them: one
of the two comes upon an image that nobody can read.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from cmid.boundary import error_boundary
from cmid.pretraining import pretrain
from tests.integration.covering import BACKBONES, covering_rows
from tests.integration.in_process import TINY, options
from tests.together import leave_for_next, run_together

ROWS = covering_rows(
    {
        "strategy": ("ddp", "fsdp"),
        "optimizer": ("adan", "adamw", "lars", "sgd"),
        "backbone": tuple(BACKBONES),
        "left_out": ("nothing", "contrastive", "local"),
        "precision": ("32-true", "bf16-mixed"),
        "clip": ("null", "1.0"),
        "accumulate": ("1", "2"),
        "agreement": ("moco", "byol"),
        "grad_checkpointing": ("false", "true"),
        "channels_last": ("false", "true"),
        "start": ("anew", "last"),
    }
)
# Outside the design: fsdp refuses 16-mixed, and capturing the graphs of `compile` takes a core ten
# seconds a row, under fsdp half a minute a process.
ROWS += [
    next(row for row in ROWS if row["strategy"] == "ddp") | extra
    for extra in ({"precision": "16-mixed"}, {"compile": "whole"})
]
NAMES = ["-".join(row.values()) for row in ROWS]
FAULTY = "faulty"


def arguments(row: dict[str, str], folder: Path, run_dir: Path) -> dict[str, Any]:
    """Options of a row, without those of its start and its end."""
    chosen = TINY | {
        "data.source.init_args.root": folder / "images",
        "data.views.init_args.size": 64,
        "data.views.init_args.block_size": 16 if "vit" in row["backbone"] else 32,
        "data.batch_size": 2,
        "model.backbone": row["backbone"],
        "model.backbone_args": BACKBONES[row["backbone"]],
        "model.agreement": row["agreement"],
        "model.optimizer.name": row["optimizer"],
        "model.channels_last": row["channels_last"],
        "model.compile": row.get("compile", "none"),
        "model.grad_checkpointing": row["grad_checkpointing"],
        "trainer.max_epochs": -1,
        "trainer.devices": 2,
        "trainer.strategy": row["strategy"],
        "trainer.precision": row["precision"],
        "trainer.accumulate_grad_batches": row["accumulate"],
        "trainer.gradient_clip_val": row["clip"],
        "checkpoints.every_n_steps": 1,
        "run_dir": run_dir,
    }
    if row["left_out"] != "nothing":
        chosen[f"model.weights.{row['left_out']}"] = 0
    return chosen


def _rank(rank: int, folder: Path) -> None:
    """Run all rows, and leave a file of each that is refused; then meet the faulty image."""
    # Graphs are captured, cut where processes meet and differentiated as ever, then run as they
    # are: compiling them takes 40 s of one core for the smallest of these backbones.
    torch.compile = partial(torch.compile, backend="aot_eager")
    for name, row in zip(NAMES, ROWS, strict=True):
        chosen = arguments(row, folder, folder / name)
        try:
            if row["start"] == "last":
                pretrain(options(chosen | {"trainer.max_steps": 1}))
                chosen["ckpt_path"] = "last"
            pretrain(options(chosen | {"trainer.max_steps": 2}))
        except Exception as error:
            (folder / f"{name}.{rank}.txt").write_text(f"{type(error).__name__}: {error}")
        finally:
            leave_for_next()
    (folder / "images/3.png").write_bytes(b"no image")
    chosen = arguments(ROWS[0], folder, folder / FAULTY) | {"trainer.strategy": "ddp"}
    with (folder / f"{FAULTY}.{rank}.txt").open("w") as sys.stderr:
        try:
            with error_boundary(skip="--data.on_error skip"):
                pretrain(options(chosen | {"trainer.max_steps": 8}))
        except SystemExit as end:
            print(end.code, file=sys.stderr, flush=True)
            raise


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int | None]]:
    """The folder of all runs, and how the two processes ended."""
    folder = tmp_path_factory.mktemp("together")
    (folder / "images").mkdir()
    images = np.random.default_rng(0).integers(0, 256, (8, 80, 80, 3), dtype=np.uint8)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"images/{number}.png")
    return folder, run_together(_rank, folder, groups=len(ROWS) + 1)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "row"), list(zip(NAMES, ROWS, strict=True)), ids=NAMES)
def test_options_work_together_in_two_processes(
    name: str, row: dict[str, str], together: tuple[Path, list[int | None]]
) -> None:
    folder, _ = together
    assert [path.read_text() for path in folder.glob(f"{name}.*.txt")] == []
    last = torch.load(folder / name / "checkpoints/step-00000002.ckpt", weights_only=True)
    assert last["global_step"] == 2
    assert all(torch.isfinite(v).all() for v in last["state_dict"].values())
    model = timm.create_model(f"local-dir:{folder / name}/backbone", pretrained=True).eval()
    assert torch.isfinite(model(torch.rand(1, 3, 64, 64))).all()


@pytest.mark.slow
@pytest.mark.parametrize("here", ["fsdp", "auto", "ddp"])
def test_a_run_goes_on_only_with_the_kind_of_strategy_it_has(
    here: str, together: tuple[Path, list[int | None]], tmp_path: Path
) -> None:
    folder, _ = together
    there = "ddp" if here == "fsdp" else "fsdp"
    name, row = next((n, r) for n, r in zip(NAMES, ROWS, strict=True) if r["strategy"] == there)
    chosen = arguments(row, folder, tmp_path / "run") | {
        "trainer.strategy": here,
        "trainer.devices": 1,
        "ckpt_path": folder / name / "checkpoints/step-00000002.ckpt",
    }
    with pytest.raises(ValueError, match=r"trainer\.strategy is .*go on with") as refusal:
        pretrain(options(chosen))
    assert there in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.slow
def test_an_error_in_one_process_ends_both_with_a_line_each(
    together: tuple[Path, list[int | None]],
) -> None:
    folder, ended = together
    assert ended == [1, 1]
    lines = [(folder / f"{FAULTY}.{rank}.txt").read_text().splitlines() for rank in (0, 1)]
    assert [sum(line.startswith("error: ") for line in each) for each in lines] == [1, 1]
    assert not [line for each in lines for line in each if "Traceback" in line]
    told = sorted(line for each in lines for line in each if line.startswith("error: "))
    assert "3.png: not a readable image" in told[0]
    assert "another process of this run has ended" in told[1]
