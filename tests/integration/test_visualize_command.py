from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image as PillowImage

from cmid.data import SceneSource
from cmid.pretraining import pretrain


@pytest.fixture(scope="module")
def run_dir(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps of pretraining."""
    folder = tmp_path_factory.mktemp("run") / "run"
    options = ["--run_dir", str(folder), "--trainer.max_epochs", "1", "--data.batch_size", "4"]
    options += ["--trainer.limit_train_batches", "2", "--trainer.accelerator", "cpu"]
    options += ["--data.num_workers", "0", "--data.knn_train", "null", "--data.knn_val", "null"]
    pretrain(["--config", str(root / "configs/pretrain/cmid_resnet18_scenes.yaml"), *options])
    return folder


@pytest.fixture(scope="module")
def command(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("visualize_command", root / "tools/visualize.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "scene.png"
    scene = SceneSource(1, size=128).read(0)
    PillowImage.fromarray(scene.pixels.permute(1, 2, 0).numpy()).save(path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["attention", "correspondence", "pca"])
def test_pictures_of_one_image(
    kind: str, command: ModuleType, run_dir: Path, picture: Path, tmp_path: Path
) -> None:
    out = tmp_path / "picture.png"
    command.main([kind, str(run_dir / "backbone"), str(picture), "--out", str(out), "--size", "96"])
    assert PillowImage.open(out).size[0] > 200


@pytest.mark.slow
def test_pictures_of_scenes(command: ModuleType, run_dir: Path, tmp_path: Path) -> None:
    checkpoint = next((run_dir / "checkpoints").glob("*.ckpt"))
    for kind, backbone in {
        "reconstruction": checkpoint,
        "embedding": run_dir / "backbone",
        "neighbours": checkpoint,
    }.items():
        out = tmp_path / f"{kind}.png"
        command.main([kind, str(backbone), "scenes", "--out", str(out), "--max_images", "40"])
        assert PillowImage.open(out).size[0] > 200


@pytest.mark.slow
def test_bad_input_is_named(
    command: ModuleType, run_dir: Path, picture: Path, tmp_path: Path
) -> None:
    out = str(tmp_path / "picture.png")
    backbone = str(run_dir / "backbone")
    for arguments, message in (
        (["pca", backbone, str(tmp_path / "none")], "does not exist"),
        (["pca", str(tmp_path / "none"), str(picture)], "no backbone"),
        (["neighbours", backbone, str(picture)], "more than 8 images"),
        (["correspondence", backbone, str(picture), "--cell", "9", "0"], "outside the grid"),
    ):
        with pytest.raises(SystemExit, match=message):
            command.main([*arguments, "--out", out])
    assert not Path(out).exists()
