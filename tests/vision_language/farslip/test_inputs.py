"""Inputs that do not fit a training are named."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
from PIL import Image as PillowImage

pytest.importorskip("open_clip", reason="extra vision-language is not installed")

from cmid.console import TrainingWarning
from cmid.data.folder import ImageFolder
from cmid.vision_language.callbacks import CutCaptions, LeftOutRegions, OnlineZeroShot
from cmid.vision_language.clip.config import CLIPConfig
from cmid.vision_language.data import (
    BoxLimitConfig,
    CaptionTable,
    ImageTextData,
    ImageTextView,
    SceneTexts,
)
from cmid.vision_language.farslip.module import (
    FarSLIP,
    FarSLIPLossConfig,
)
from tests.vision_language.farslip.batches import ALL


@pytest.mark.parametrize(
    ("weights", "regions", "message"),
    [
        (FarSLIPLossConfig(1.0, 1.0, 0.0), "none", "distillation needs regions"),
        (FarSLIPLossConfig(1.0, 0.0, 1.0), "random", "region_text needs .*annotated, not random"),
    ],
)
def test_losses_of_regions_need_regions(
    weights: FarSLIPLossConfig, regions: Any, message: str, tiny_clip: str, tmp_path: Path
) -> None:
    module = FarSLIP(CLIPConfig(tiny_clip), weights=weights)
    data = ImageTextData(
        SceneTexts(8, size=32), ImageTextView(size=32, regions=regions), batch_size=4
    )
    trainer = L.Trainer(accelerator="cpu", max_epochs=1, logger=False, default_root_dir=tmp_path)
    with pytest.raises(ValueError, match=message):
        trainer.fit(module, data)


def test_sources_and_sizes_that_do_not_fit_the_model_are_named(
    tiny_clip: str, tmp_path: Path
) -> None:
    PillowImage.new("RGB", (8, 6)).save(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("filepath,title\na.png,lake\n")
    table = CaptionTable(tmp_path / "t.csv")
    view = ImageTextView(size=32, regions="annotated")
    trainer = L.Trainer(accelerator="cpu", max_epochs=1, logger=False, default_root_dir=tmp_path)
    module = FarSLIP(CLIPConfig(tiny_clip), weights=ALL)
    with pytest.raises(ValueError, match="CaptionTable has captions only, no annotated regions"):
        trainer.fit(module, ImageTextData(table, view, batch_size=1, num_workers=0))
    view = ImageTextView(size=48, regions="annotated")
    with pytest.raises(ValueError, match=r"size 48 differs from the image tower's 32: set one"):
        trainer.fit(module, ImageTextData(SceneTexts(8), view, batch_size=4, num_workers=0))


def test_an_epoch_without_regions_says_so(
    tiny_clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = BoxLimitConfig(min_area=1e6)  # no box of a small scene
    for weights, said in ((ALL, True), (FarSLIPLossConfig(1.0, 0.0, 0.0), False)):
        view = ImageTextView(size=32, regions="annotated" if said else "none", limits=limits)
        data = ImageTextData(SceneTexts(8, size=32), view, batch_size=4, num_workers=0)
        trainer = L.Trainer(
            accelerator="cpu",
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            default_root_dir=tmp_path,
            callbacks=[LeftOutRegions()],
        )
        trainer.fit(FarSLIP(CLIPConfig(tiny_clip), weights=weights), data)
        assert ("epoch 1: 0 regions used" in capsys.readouterr().out) == said


def test_captions_that_the_context_cuts_are_told_before_training(
    tiny_clip: str, tmp_path: Path
) -> None:
    module = FarSLIP(CLIPConfig(tiny_clip), weights=FarSLIPLossConfig(1.0, 0.0, 0.0))
    fits, cut = "ship " * 75, "ship " * 76  # beside two marks, 77 tokens
    assert module.clip.text.too_long([fits, "", cut]) == [False, False, True]
    PillowImage.new("RGB", (8, 6)).save(tmp_path / "a.png")
    table = tmp_path / "t.csv"
    for captions, counted in (([fits, cut, "lake"], True), ([fits, "lake"], False)):
        table.write_text("filepath,title\n" + "".join(f"a.png,{text}\n" for text in captions))
        data = ImageTextData(CaptionTable(table), ImageTextView(size=32), batch_size=1)
        trainer: Any = SimpleNamespace(datamodule=data, is_global_zero=True)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            CutCaptions().on_fit_start(trainer, module)
        lines = [str(each.message) for each in said if each.category is TrainingWarning]
        assert len(lines) == counted
        assert not counted or "1 of 3 captions that were looked at are longer than 77" in lines[0]


def test_images_that_cannot_be_classified_are_named_before_training(tmp_path: Path) -> None:
    for name in ("reds/0.png", "blues/0.png"):
        (tmp_path / name).parent.mkdir()
        PillowImage.new("RGB", (8, 6)).save(tmp_path / name)
    both = ImageFolder(tmp_path)
    with pytest.raises(ValueError, match=r"zero_shot\.source has no labels"):
        OnlineZeroShot(ImageFolder(tmp_path / "reds"))
    with pytest.raises(ValueError, match=r"zero_shot\.names are 1, the classes of the images 2"):
        OnlineZeroShot(both, names=["red"])
    for templates, message in ((["a field"], "'a field' has no {}"), ([], "are empty")):
        with pytest.raises(ValueError, match=rf"zero_shot\.templates: {message}"):
            OnlineZeroShot(both, templates=templates)
