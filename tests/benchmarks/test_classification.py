from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from sklearn.metrics import confusion_matrix
from torch import Tensor

from benchmarks.classification.data import ClassificationData, ClassificationImages
from benchmarks.classification.module import FineTuning, RegularisationConfig
from benchmarks.classification.results import class_accuracies, confusion_figure, write_results
from cmid.data import SceneSource, open_split
from cmid.optimization import OptimizerConfig

PLAIN = RegularisationConfig(mixup=0, cutmix=0, smoothing=0, erasing=0)


def module(**options: Any) -> FineTuning:
    options = {"classes": tuple("abcdefghij"), "img_size": 32, **options}
    return FineTuning(options.pop("backbone", "random:resnet18"), **options)


def trainer(folder: Path, epochs: int) -> L.Trainer:
    return L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@pytest.mark.slow
def test_fine_tuning_learns_the_classes_of_scenes(tmp_path: Path) -> None:
    L.seed_everything(0, verbose=False)
    data = ClassificationData(
        "scenes", num_scenes=1000, size=32, batch_size=32, augment="", num_workers=0
    )
    optimizer = OptimizerConfig(name="adamw", base_lr=8e-3, warmup_epochs=0.5)
    model = module(regularisation=PLAIN, optimizer=optimizer, classes=data.classes)
    run = trainer(tmp_path, 10)
    run.fit(model, data)
    run.test(model, data, verbose=False)
    assert model.result["accuracy"] > 0.3  # 10 classes, balanced
    assert int(model.result["confusion"].sum()) == 200
    write_results(tmp_path, model.result, data.classes, {"backbone": "random:resnet18"})
    assert (tmp_path / "classes.csv").read_text().count("\n") == 11
    assert PillowImage.open(tmp_path / "confusion.png").size[0] > 300


def test_a_frozen_backbone_stays_as_it_is(tmp_path: Path) -> None:
    data = ClassificationData(
        "scenes", num_scenes=80, size=32, batch_size=16, augment="", num_workers=0
    )
    model = module(frozen=True, regularisation=PLAIN, classes=data.classes)
    before = {k: v.clone() for k, v in model.network.state_dict().items()}
    trainer(tmp_path, 1).fit(model, data)
    changed = [k for k, v in model.network.state_dict().items() if not torch.equal(v, before[k])]
    assert changed == ["fc.weight", "fc.bias"]


def test_layer_decay_scales_the_rate_of_each_layer(tmp_path: Path) -> None:
    data = ClassificationData("scenes", num_scenes=80, size=32, batch_size=16, num_workers=0)
    optimizer = OptimizerConfig(name="adamw", base_lr=0.016, warmup_epochs=0)
    model = module(
        backbone="random:vit_tiny_patch16_224",
        layer_decay=0.5,
        optimizer=optimizer,
        regularisation=PLAIN,
    )
    run = trainer(tmp_path, 1)
    run.limit_train_batches = 1
    run.fit(model, data)
    rates: dict[str, float] = {}
    names = {p: n for n, p in model.network.named_parameters()}
    for group in run.optimizers[0].param_groups:
        for parameter in group["params"]:
            rates[names[parameter]] = group["initial_lr"]
    assert rates["head.weight"] == pytest.approx(1e-3)
    assert rates["blocks.11.mlp.fc1.weight"] == pytest.approx(rates["head.weight"] / 2)
    assert rates["blocks.0.mlp.fc1.weight"] == pytest.approx(rates["head.weight"] / 2**12)
    assert rates["patch_embed.proj.weight"] == pytest.approx(rates["head.weight"] / 2**13)


def test_mixed_targets_sum_to_one_and_loss_is_finite() -> None:
    model = module(regularisation=RegularisationConfig())
    images = torch.randint(0, 255, (4, 3, 32, 32), dtype=torch.uint8)
    labels = torch.tensor([0, 1, 2, 3])
    assert model.mix is not None
    _, targets = model.mix(model.standardize(images), labels)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(4))
    model.log = lambda *args, **kwargs: None  # type: ignore[assignment,method-assign]
    for batch in (4, 3):  # an odd batch cannot be mixed
        assert torch.isfinite(model.training_step((images[:batch], labels[:batch]), 0))


def test_confusions_equal_scikit_learn() -> None:
    truth, predicted = np.random.randint(0, 4, 100), np.random.randint(0, 4, 100)
    expected = torch.from_numpy(confusion_matrix(truth, predicted))
    model = module(classes=tuple("abcd"))
    logits = torch.nn.functional.one_hot(torch.from_numpy(predicted), 4).float()
    model.scores.update(logits, torch.from_numpy(truth))
    confusion = model.scores.compute()["confusion"]
    assert torch.equal(confusion, expected)
    right = [float((predicted[truth == c] == c).mean()) for c in range(4)]
    assert class_accuracies(confusion) == pytest.approx(right)
    assert confusion_figure(confusion, tuple("abcd")).axes


def test_augmentation_of_rgb_and_of_other_bands() -> None:
    for bands, dtype in ((3, torch.uint8), (5, torch.uint8)):
        source = SceneSource(4, size=48, num_bands=bands)
        images = ClassificationImages(source, 32, augment="rand-m9-mstd0.5-inc1")
        pixels, label = images[1]
        assert pixels.shape == (bands, 32, 32)
        assert pixels.dtype == dtype
        assert label == source.read(1).label
    plain: Tensor = ClassificationImages(SceneSource(4, size=48), 32)[1][0]
    assert torch.equal(plain, ClassificationImages(SceneSource(4, size=48), 32)[1][0])


def test_lists_with_and_without_labels(tmp_path: Path) -> None:
    for name in ("beach00.png", "beach01.png", "forest00.png", "forest01.png"):
        PillowImage.new("RGB", (40, 40)).save(tmp_path / name)
    (tmp_path / "train.txt").write_text("beach00.png\nforest00.png\n")
    (tmp_path / "test.txt").write_text("forest01.png\nbeach01.png\n")
    train, test = open_split(tmp_path / "train.txt", tmp_path / "test.txt")
    assert train.classes == test.classes == ("beach", "forest")
    assert [test.read(i).label for i in range(2)] == [1, 0]
    (tmp_path / "test.txt").write_text("forest01.png forest\nbeach02.png beach\n")
    _, test = open_split(tmp_path / "train.txt", tmp_path / "test.txt")
    with pytest.raises(RuntimeError, match=r"beach02\.png"):
        test.read(1)


def test_bad_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="reads 3 bands, the images have 5"):
        FineTuning(str(exported(tmp_path)), classes=("a", "b"), in_chans=5)
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        PillowImage.new("RGB", (8, 8)).save(tmp_path / "images" / name)
    with pytest.raises(ValueError, match="class b has one image"):
        ClassificationData(tmp_path / "images")
    with pytest.raises(ValueError, match="classes: put the images of each class"):
        ClassificationData(tmp_path / "images" / "a")
    with pytest.raises(FileNotFoundError, match="missing does not exist"):
        ClassificationData(tmp_path / "missing")
    PillowImage.new("RGB", (8, 8)).save(tmp_path / "images/b/2.png")
    with pytest.raises(ValueError, match="2 training images, fewer than one batch of 16"):
        ClassificationData(tmp_path / "images")


def exported(folder: Path) -> Path:
    from cmid.export import to_timm
    from cmid.models import MaskedEncoder

    return to_timm(MaskedEncoder("resnet18", img_size=32), folder / "export")
