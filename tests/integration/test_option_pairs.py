"""Any two documented options of tools/pretrain.py work together, or say in one line why not.

Rows of a covering design: every pair of values of two options is in at least one of them. Each row
is a run of two steps of the command, in this process.
"""

from __future__ import annotations

import importlib.util
import io
import tarfile
from itertools import combinations
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import timm
import torch
from PIL import Image

from cmid.pretraining import pretrain
from tests.integration.covering import BACKBONES, covering_rows
from tests.integration.in_process import TINY, options

OPTIONS: dict[str, tuple[str, ...]] = {
    "source": ("scenes", "images", "rasters", "hdf5", "shards"),
    "backbone": tuple(BACKBONES),
    "left_out": ("nothing", "reconstruction", "contrastive", "local"),
    "optimizer": ("adan", "adamw", "lars", "sgd"),
    "precision": ("32-true", "bf16-mixed", "16-mixed"),
    "local_norm": ("null", "true", "false"),
    "agreement": ("moco", "byol"),
    "channels_last": ("false", "true"),
    "grad_checkpointing": ("false", "true"),
    "accumulate": ("1", "2"),
    "clip": ("null", "1.0"),
    "end": ("steps", "epochs"),
    "on_error": ("error", "skip"),
    "knn": ("off", "on"),
    "workers": ("0", "2"),
    "start": ("anew", "last"),
    "mask_mode": ("add", "replace"),
    "batch_size": ("1", "4"),
    "size": ("32", "64"),
}


ROWS = covering_rows(OPTIONS)


def test_every_pair_of_options_is_in_a_row() -> None:
    for a, b in combinations(OPTIONS, 2):
        seen = {(row[a], row[b]) for row in ROWS}
        assert seen == {(x, y) for x in OPTIONS[a] for y in OPTIONS[b]}
    assert len(ROWS) <= 32


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str, str]]:
    """Class, name of its first argument and value of each kind of source; 8 images each."""
    folder = tmp_path_factory.mktemp("sources")
    images = np.random.default_rng(0).integers(0, 256, (8, 48, 48, 3), dtype=np.uint8)
    (folder / "images").mkdir()
    with tarfile.open(folder / "all.tar", "w") as shard:
        for number, image in enumerate(images):
            picture = io.BytesIO()
            Image.fromarray(image).save(picture, "PNG")
            (folder / f"images/{number}.png").write_bytes(picture.getvalue())
            entry = tarfile.TarInfo(f"{number:03}.png")
            entry.size = len(picture.getvalue())
            shard.addfile(entry, io.BytesIO(picture.getvalue()))
    with h5py.File(folder / "all.h5", "w") as file:
        file["images"] = images
    return {
        "scenes": ("SceneSource", "num_images", "8"),
        "images": ("ImageFolder", "root", str(folder / "images")),
        "rasters": ("RasterWindows", "paths", str(_raster(folder / "scene.tif"))),
        "hdf5": ("HDF5Images", "path", str(folder / "all.h5")),
        "shards": ("TarShards", "shards", str(folder / "all.tar")),
    }


def _raster(path: Path) -> Path:
    rasterio = pytest.importorskip("rasterio")
    values = np.random.default_rng(1).integers(0, 256, (3, 160, 160), dtype=np.uint8)
    profile = {"driver": "GTiff", "width": 160, "height": 160, "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", **profile) as scene:
        scene.write(values)
    return path


def arguments(row: dict[str, str], source: tuple[str, str, str], run_dir: Path) -> list[str]:
    """The command line of a row, without its end and its start."""
    kind, name, value = source
    chosen: dict[str, Any] = TINY | {
        "data.source.class_path": f"cmid.data.{kind}",
        f"data.source.init_args.{name}": value,
        "data.views.init_args.size": row["size"],
        "data.views.init_args.block_size": 16 if "vit" in row["backbone"] else 32,
        "data.batch_size": row["batch_size"],
        "data.num_workers": row["workers"],
        "data.on_error": row["on_error"],
        "model.backbone": row["backbone"],
        "model.backbone_args": BACKBONES[row["backbone"]],
        "model.agreement": row["agreement"],
        "model.optimizer.name": row["optimizer"],
        "model.channels_last": row["channels_last"],
        "model.grad_checkpointing": row["grad_checkpointing"],
        "model.mask_mode": row["mask_mode"],
        "model.local_norm": row["local_norm"],
        "trainer.precision": row["precision"],
        "trainer.accumulate_grad_batches": row["accumulate"],
        "trainer.gradient_clip_val": row["clip"],
        "checkpoints.every_n_steps": 1,
        "run_dir": run_dir,
    }
    if row["source"] == "rasters":
        chosen |= {"data.source.init_args.window": 64, "data.source.init_args.windows_per_epoch": 8}
    if row["knn"] == "on":
        for part in ("knn_train", "knn_val"):
            chosen[f"data.{part}.class_path"] = "cmid.data.SceneSource"
            chosen[f"data.{part}.init_args.num_images"] = 11
            chosen[f"data.{part}.init_args.size"] = 32
        chosen["knn.k"] = 3
    if row["left_out"] != "nothing":
        chosen[f"model.weights.{row['left_out']}"] = 0
    return options(chosen)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(row.values()))
def test_options_work_together(
    row: dict[str, str], sources: dict[str, tuple[str, str, str]], tmp_path: Path
) -> None:
    common = arguments(row, sources[row["source"]], tmp_path / "run")
    batches = 2 * int(row["accumulate"])
    end = (
        ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", str(batches)]
        if row["end"] == "epochs" and batches * int(row["batch_size"]) <= 8
        else ["--trainer.max_epochs", "-1", "--trainer.max_steps", "2"]
    )
    if row["start"] == "last":
        pretrain([*common, "--trainer.max_epochs", "1", "--trainer.max_steps", "1"])
        end += ["--ckpt_path", "last"]
    folder = pretrain([*common, *end])
    last = torch.load(tmp_path / "run/checkpoints/step-00000002.ckpt", weights_only=True)
    assert last["global_step"] == 2
    assert all(torch.isfinite(v).all() for v in last["state_dict"].values())
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    size = int(row["size"])
    assert torch.isfinite(model(torch.rand(1, 3, size, size))).all()


def tiny(sources: dict[str, tuple[str, str, str]], run_dir: Path, **more: Any) -> list[str]:
    """A run of one step on images."""
    chosen = TINY | {
        "data.source.init_args.root": sources["images"][2],
        "trainer.max_steps": 1,
        "run_dir": run_dir,
    }
    return options(chosen | {name.replace("__", "."): value for name, value in more.items()})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_blocks_go_with_recomputed_activations_and_other_precision(
    sources: dict[str, tuple[str, str, str]], tmp_path: Path
) -> None:
    name = "vit_tiny_patch16_224"
    folder = pretrain(
        tiny(
            sources,
            tmp_path / "run",
            model__backbone=name,
            model__backbone_args=BACKBONES[name],
            model__compile="blocks",
            model__grad_checkpointing="true",
            trainer__precision="bf16-mixed",
            trainer__gradient_clip_val=1.0,
        )
    )
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert torch.isfinite(model(torch.rand(1, 3, 32, 32))).all()


def test_wandb_logs_beside_the_others_or_names_its_extra(
    sources: dict[str, tuple[str, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    command = tiny(sources, tmp_path / "run", wandb="mine")
    if importlib.util.find_spec("wandb"):
        pretrain(command)
        assert list((tmp_path / "run").glob("wandb/offline-run-*"))
        assert list((tmp_path / "run").glob("csv/version_*/metrics.csv"))
    else:
        with pytest.raises(ModuleNotFoundError, match=r"--wandb needs: .*cmid\[wandb\]"):
            pretrain(command)


@pytest.mark.slow
@pytest.mark.parametrize("before", ["0", "1"])
@pytest.mark.parametrize("loss", ["reconstruction", "contrastive", "local"])
def test_a_loss_that_is_switched_when_a_run_goes_on_is_refused_by_its_name(
    loss: str, before: str, sources: dict[str, tuple[str, str, str]], tmp_path: Path
) -> None:
    option, after = f"model__weights__{loss}", "1" if before == "0" else "0"
    pretrain(tiny(sources, tmp_path / "run", **{option: before}))
    with pytest.raises(ValueError, match=rf"model\.weights\.{loss} is {after}\.0") as refusal:
        pretrain(tiny(sources, tmp_path / "run", ckpt_path="last", **{option: after}))
    assert "\n" not in str(refusal.value)
