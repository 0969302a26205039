"""Online kNN on parts whose classes differ."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import numpy as np
import pytest
from PIL import Image as PillowImage

from cmid.callbacks import OnlineKNN
from cmid.data import ImageFolder, PretrainData, SceneSource
from cmid.data.values import ImageValuesError
from cmid.methods import CMID
from cmid.views import TwoViews

COLOURS = {"a": (250, 10, 10), "b": (10, 250, 10), "c": (10, 10, 250)}


def folder(path: Path, classes: str, *, count: int, dtype: str = "uint8") -> ImageFolder:
    generator = np.random.default_rng(0)
    for name in classes:
        (path / name).mkdir(parents=True)
        for i in range(count):
            pixels = np.clip(generator.normal(COLOURS[name], 8, (32, 32, 3)), 0, 255)
            picture = PillowImage.fromarray(pixels.astype("uint8"))
            if dtype == "uint16" and i == count - 1:
                picture = PillowImage.fromarray(pixels[..., 0].astype("uint16"))
            picture.save(path / name / f"{i}.png")
    return ImageFolder(path)


def fit(tmp_path: Path, train: ImageFolder, val: ImageFolder) -> OnlineKNN:
    knn = OnlineKNN(k=3)
    trainer = L.Trainer(
        max_steps=1,
        accelerator="cpu",
        logger=False,
        default_root_dir=tmp_path,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=[knn],
    )
    method = CMID(
        "convnext_atto",
        img_size=32,
        queue_size=16,
        num_prototypes=16,
        num_matches=1,
        head_width=32,
    )
    views = TwoViews(size=32, block_size=16)
    sources = {"knn_train": train, "knn_val": val}
    source = SceneSource(4, size=32)
    trainer.fit(method, PretrainData(source, views, batch_size=4, num_workers=0, **sources))
    return knn


@pytest.mark.parametrize("classes", ["bc", "ac", "abc"])
def test_labels_of_val_are_found_by_name(tmp_path: Path, classes: str) -> None:
    train = folder(tmp_path / "train", "abc", count=5)
    knn = fit(tmp_path, train, folder(tmp_path / "val", classes, count=2))
    assert knn.initial == 1.0  # three colours are trivially told apart


def test_image_of_another_depth_in_val_is_named(tmp_path: Path) -> None:
    train = folder(tmp_path / "train", "abc", count=3)
    val = folder(tmp_path / "val", "ab", count=2, dtype="uint16")
    with pytest.raises(ImageValuesError, match=r"val/a/1\.png holds uint16 values"):
        fit(tmp_path, train, val)
