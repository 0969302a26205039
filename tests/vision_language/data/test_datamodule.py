"""Batches of images, texts and regions: form, order, resumption, what is skipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.cli import LightningArgumentParser
from PIL import Image as PillowImage

from cmid.callbacks import SkippedImages
from cmid.vision_language.data import (
    CaptionTable,
    CocoRegions,
    ImageTextData,
    ImageTextView,
    SceneTexts,
)

VIEW = ImageTextView(size=32, regions="annotated", max_regions=3)


def data(**options: Any) -> ImageTextData:
    defaults = {"batch_size": 4, "num_workers": 0, "seed": 3}
    return ImageTextData(SceneTexts(20, size=32), VIEW, **{**defaults, **options})


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(
        torch.equal(a[k], b[k]) if isinstance(a[k], torch.Tensor) else a[k] == b[k] for k in a
    )


def test_form_of_a_batch() -> None:
    for batch in data().train_dataloader():
        count = len(batch["region_texts"])
        assert batch["images"].shape == (4, 3, 32, 32)
        assert batch["images"].dtype == batch["region_images"].dtype == torch.uint8
        assert len(batch["texts"]) == 4
        assert batch["regions"].shape == (count, 5)
        assert batch["regions"].dtype == torch.float32
        assert batch["region_images"].shape == (count, 3, 32, 32)
        assert len(batch["region_keys"]) == count
        assert torch.equal(batch["regions"][:, 0], batch["regions"][:, 0].sort().values)
        assert batch["regions"][:, 0].long().bincount().max() <= 3
        assert 0 <= batch["regions"][:, 1:].min() < batch["regions"][:, 1:].max() <= 1
        assert batch["skipped"] == []


def test_batches_without_regions() -> None:
    loader = ImageTextData(
        SceneTexts(4, size=32), ImageTextView(size=16), batch_size=4, num_workers=0
    ).train_dataloader()
    batch = next(iter(loader))
    assert batch["regions"].shape == (0, 5)
    assert batch["region_images"].shape == (0, 3, 16, 16)
    assert batch["region_texts"] == batch["region_keys"] == []


def test_batches_do_not_depend_on_workers() -> None:
    alone, helped = (list(data(num_workers=n).train_dataloader()) for n in (0, 2))
    assert len(alone) == len(helped) == 5
    assert all(same(a, b) for a, b in zip(alone, helped, strict=True))


def test_seeds_and_epochs_differ() -> None:
    loader = data().train_dataloader()
    first = next(iter(loader))
    loader.sampler.set_epoch(1)
    assert not same(first, next(iter(loader)))
    assert not same(first, next(iter(data(seed=4).train_dataloader())))
    assert same(first, next(iter(data().train_dataloader())))


def test_an_interrupted_epoch_continues_where_it_stopped() -> None:
    whole = list(data().train_dataloader())
    interrupted = data()
    iterator = iter(interrupted.train_dataloader())
    for _ in range(2):
        next(iterator)
    state = interrupted.state_dict()
    assert state == {"epoch": 0, "batches_done": 2, "per_epoch": 5}
    resumed = data()
    resumed.load_state_dict(state)
    rest = list(resumed.train_dataloader())
    assert len(rest) == 3
    assert all(same(a, b) for a, b in zip(rest, whole[2:], strict=True))


def test_validation_sees_everything_once_and_always_the_same() -> None:
    assert data().val_dataloader() == []
    loader = data(val_source=SceneTexts(6, size=32, seed=9)).val_dataloader()
    assert isinstance(loader, torch.utils.data.DataLoader)
    first = list(loader)
    assert [len(batch["images"]) for batch in first] == [4, 2]
    scene = SceneTexts(6, size=32, seed=9)[5]
    assert torch.equal(first[1]["images"][1], scene.image.pixels)
    assert first[1]["texts"][1] == scene.captions[0]
    loader.sampler.set_epoch(1)  # as Lightning does
    assert all(same(a, b) for a, b in zip(first, loader, strict=True))
    with pytest.raises(
        ValueError, match=r"data\.val_view\.size 16 differs from data\.view\.size 32"
    ):
        data(val_view=ImageTextView(size=16))


def test_too_small_a_source_is_refused() -> None:
    with pytest.raises(ValueError, match="20 images, fewer than one batch of 64"):
        data(batch_size=64).train_dataloader()


class Idle(L.LightningModule):
    """Trains nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch: dict[str, Any]) -> torch.Tensor:
        return self.weight * batch["images"].float().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_skipped_images_reach_the_callback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["filepath,caption"]
    for i in range(8):
        PillowImage.fromarray(np.full((8, 8, 3), i, np.uint8)).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.png,number {i}")
    (tmp_path / "5.png").write_bytes(b"broken")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    view = ImageTextView(size=8)
    source = CaptionTable(tmp_path / "t.csv")
    module = ImageTextData(source, view, batch_size=4, num_workers=0, on_error="skip")
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        default_root_dir=tmp_path,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=[SkippedImages()],
    )
    trainer.fit(Idle(), module)
    printed = capsys.readouterr().out
    assert "epoch 1: 1 unreadable images skipped" in printed
    assert "5.png: not a readable image" in printed


def test_configurations_name_any_source() -> None:
    parser = LightningArgumentParser()
    parser.add_lightning_class_args(ImageTextData, "data")
    config = parser.parse_object(
        {
            "data": {
                "source": {
                    "class_path": "cmid.vision_language.data.SceneTexts",
                    "init_args": {"num_images": 30, "size": 32},
                },
                "view": {
                    "class_path": "cmid.vision_language.data.ImageTextView",
                    "init_args": {
                        "size": 16,
                        "regions": "annotated",
                        "limits": {"min_area": 9, "max_area": 100},
                    },
                },
                "batch_size": 5,
            }
        }
    )
    module = parser.instantiate_classes(config)["data"]
    assert (len(module.source), module.image_size, module.batch_size) == (30, 16, 5)
    assert module.view.limits.max_area == 100


def test_regions_of_nwpu_vhr10(shared_data: Path) -> None:
    folder = shared_data / "nwpu_vhr10"
    source = CocoRegions(folder / "val.json", root=folder / "val")
    assert len(source) == 60
    assert sum(len(source[i].regions) for i in range(60)) == 416
    view = ImageTextView(size=64, regions="annotated")
    batch = next(iter(ImageTextData(source, view, batch_size=8, num_workers=0).train_dataloader()))
    assert len(batch["regions"]) > 8
    categories = {part.category for i in range(60) for part in source[i].regions}
    assert "ground track field" in categories
    assert len(categories) == 10
