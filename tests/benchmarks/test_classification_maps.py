"""Maps of classifiers: a class for every tile, as the classifier says of it alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

rasterio = pytest.importorskip("rasterio", reason="extra geo is not installed")

from benchmarks.classification.mapping import fine_tuned, open_fine_tuned  # noqa: E402
from tests.integration import in_process  # noqa: E402

SIDE, TILE = 130, 32


def assert_tiles(out: Path, scene: Path, network, names, *, tile: int) -> None:
    """The map holds what a network says of each tile."""
    with (
        rasterio.open(out / "classes.tif") as classes,
        rasterio.open(out / "probabilities.tif") as probabilities,
        rasterio.open(scene) as source,
    ):
        assert classes.transform == source.transform * source.transform.scale(tile)
        assert classes.crs == source.crs
        assert classes.shape == (-(-SIDE // tile), -(-SIDE // tile))
        assert [classes.tags(1)[f"class_{n}"] for n in range(len(names))] == list(names)
        pixels = torch.from_numpy(source.read()[:, tile : 2 * tile, :tile])[None]
        with torch.no_grad():
            wanted = network(pixels)[0].flatten().softmax(dim=0)
        assert classes.read(1)[1, 0] == wanted.argmax()
        assert np.abs(probabilities.read()[:, 1, 0] / 254 - wanted.numpy()).max() < 0.51 / 254


@pytest.mark.slow
def test_a_fine_tuned_classifier_tells_the_class_of_every_tile(scene, tmp_path):
    run = tmp_path / "run"
    tuned = in_process.run(
        "tools/finetune.py", "--data.num_scenes=40", f"--data.size={TILE}", "--data.num_workers=0",
        "--data.batch_size=16", "--model.backbone=random:test_resnet", f"--run_dir={run}",
        "--trainer.max_steps=1",
    )  # fmt: skip
    assert tuned.status == 0, tuned.err[-3000:]
    path = fine_tuned(str(run))
    assert path is not None
    assert fine_tuned(str(path)) == path
    for tile in (TILE, 50):  # larger ones are resized, as images of the training were
        out = tmp_path / f"maps{tile}"
        options = ["--tile", str(tile)] if tile != TILE else []
        outcome = in_process.run(
            "tools/map.py", run, scene, "--out", out, "--probabilities", *options
        )
        assert outcome.status == 0, outcome.err
        model = open_fine_tuned(path, backbone=None, size=tile, device="cpu")
        assert model.seen == TILE
        assert_tiles(out, scene, model, model.classes, tile=tile)


def test_a_classifier_of_mmpretrain_tells_the_class_of_every_tile(scene, tmp_path):
    pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")
    from benchmarks.openmmlab.experiment import build_runner, load_config

    config = load_config(
        "configs/classification/mmpretrain_scenes.py",
        backbone="random:test_resnet",
        options={"train_dataloader.dataset.num_scenes": 40},
        work_dir=str(tmp_path / "work"),
    )
    model = build_runner(config).model.eval()
    names = tuple(f"class {n}" for n in range(10))
    state = {"meta": {"dataset_meta": {"classes": names}}, "state_dict": model.state_dict()}
    torch.save(state, tmp_path / "epoch_1.pth")
    config.dump(str(tmp_path / "config.py"))
    outcome = in_process.run(
        "tools/map.py", tmp_path / "config.py", scene, "--checkpoint", tmp_path / "epoch_1.pth",
        "--backbone", "random:test_resnet", "--out", tmp_path / "maps", "--probabilities",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err

    def network(pixels: torch.Tensor) -> torch.Tensor:
        return model(model.data_preprocessor({"inputs": pixels})["inputs"], mode="tensor")

    assert_tiles(tmp_path / "maps", scene, network, names, tile=64)
