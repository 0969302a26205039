"""The training module: terms, teachers, locking, checkpoints, several processes."""

from __future__ import annotations

import json
import math
import os
import socket
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from PIL import Image as PillowImage
from torch import Tensor
from torch.utils.data import DataLoader

pytest.importorskip("open_clip", reason="extra vision-language is not installed")

from cmid.data.folder import ImageFolder
from cmid.optimization import OptimizerParameters
from cmid.vision_language.callbacks import LeftOutRegions, OnlineZeroShot
from cmid.vision_language.clip.parameters import CLIPParameters
from cmid.vision_language.clip.storage import export_checkpoint, load_clip, save_clip
from cmid.vision_language.data import (
    BoxLimits,
    CaptionTable,
    ImageTextData,
    ImageTextView,
    SceneTexts,
)
from cmid.vision_language.farslip.module import (
    Distillation,
    FarSLIP,
    FarSLIPWeights,
)

ALL = FarSLIPWeights(1.0, 0.5, 1.0)
SGD = OptimizerParameters(name="sgd", base_lr=0.5, warmup_epochs=0)
STEPS = 3


def batch_of(samples: list[int]) -> dict[str, Any]:
    """Samples by number; image ``i`` has ``i % 3`` regions, so that processes differ in number."""
    images, regions, crops, texts, region_texts = [], [], [], [], []
    for place, sample in enumerate(samples):
        generator = torch.Generator().manual_seed(sample)
        images.append(torch.randint(0, 256, (3, 32, 32), generator=generator, dtype=torch.uint8))
        texts.append(f"a scene with {sample % 5} ships")
        for region in range(sample % 3):
            corner = torch.rand(2, generator=generator) * 0.5
            regions.append(torch.cat([torch.tensor([float(place)]), corner, corner + 0.4]))
            crops.append(torch.randint(0, 256, (3, 32, 32), generator=generator, dtype=torch.uint8))
            region_texts.append(("a ship", "a plane", "a tank")[(sample + region) % 3])
    return {
        "images": torch.stack(images),
        "texts": texts,
        "regions": torch.stack(regions) if regions else torch.zeros(0, 5),
        "region_images": torch.stack(crops)
        if crops
        else torch.zeros(0, 3, 32, 32, dtype=torch.uint8),
        "region_texts": region_texts,
        "region_keys": region_texts,
        "skipped": [],
    }


class Batches(L.LightningDataModule):
    """Two samples out of each four go to each of two processes, or all four to one."""

    def __init__(self, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size

    def train_dataloader(self) -> Any:
        rank, size = self.trainer.global_rank, self.batch_size
        starts = [4 * step + rank * size for step in range(STEPS)]
        lists = [list(range(start, start + size)) for start in starts]
        return DataLoader(lists, batch_size=None, collate_fn=batch_of)  # type: ignore[arg-type]


def train(model: FarSLIP, folder: Path, *, processes: int = 1, steps: int = STEPS) -> L.Trainer:
    trainer = L.Trainer(
        max_steps=steps,
        max_epochs=1,
        accelerator="cpu",
        devices=processes,
        strategy="auto" if processes == 1 else "ddp",
        use_distributed_sampler=False,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, Batches(4 // processes))
    return trainer


def test_terms_are_those_of_the_weights(tiny_clip: str) -> None:
    clip = CLIPParameters(tiny_clip)
    batch = batch_of([0, 1, 2, 3])
    terms = FarSLIP(clip, weights=ALL).losses(batch)
    assert terms.keys() == {"image_text", "distillation", "region_text"}
    assert all(torch.isfinite(term) for term in terms.values())
    assert FarSLIP(clip).losses(batch).keys() == {"image_text", "distillation"}
    stage2 = FarSLIP(clip, weights=FarSLIPWeights(1.0, 0.0, 1.0)).losses(batch)
    assert stage2.keys() == {"image_text", "region_text"}
    with pytest.raises(ValueError, match="at least one loss"):
        FarSLIP(clip, weights=FarSLIPWeights(0, 0, 0))


@pytest.mark.parametrize("teacher", ["shared", "ema", "frozen"])
def test_distillation_is_zero_where_the_region_is_the_whole_image(
    teacher: Any, tiny_clip: str
) -> None:
    module = FarSLIP(CLIPParameters(tiny_clip), distillation=Distillation(teacher)).eval()
    batch = batch_of([0, 0])
    batch |= {
        "regions": torch.tensor([[0.0, 0, 0, 1, 1], [1.0, 0, 0, 1, 1]]),
        "region_images": batch["images"],
    }
    batch |= {"region_texts": ["", ""], "region_keys": ["", ""]}
    assert float(module.losses(batch)["distillation"].detach()) == pytest.approx(0, abs=1e-5)


def test_targets_and_teachers_differ(tiny_clip: str) -> None:
    batch = batch_of([1, 2, 4])

    def distilled(**settings: Any) -> Tensor:
        module = FarSLIP(CLIPParameters(tiny_clip), distillation=Distillation(**settings))
        return module.losses(batch)["distillation"]

    patch, cls = distilled(target="patch"), distilled(target="cls")
    torch.testing.assert_close(distilled(target="both"), (patch + cls) / 2)
    assert abs(float(patch - cls)) > 1e-4
    # Before the first step all teachers have the same weights.
    torch.testing.assert_close(distilled(teacher="ema"), patch)
    torch.testing.assert_close(distilled(teacher="frozen"), patch)


def test_only_a_shared_teacher_takes_a_gradient(tiny_clip: str) -> None:
    batch = batch_of([1, 2])
    for teacher in ("shared", "ema"):
        module = FarSLIP(CLIPParameters(tiny_clip), distillation=Distillation(teacher))  # type: ignore[arg-type]
        crops = batch["region_images"].float().requires_grad_()
        module.losses(batch | {"region_images": crops})["distillation"].backward()
        assert (crops.grad is not None) == (teacher == "shared")
        if module.teacher is not None:
            assert all(p.grad is None for p in module.teacher.parameters())


def test_teachers_follow_or_stay(tiny_clip: str, tmp_path: Path) -> None:
    name = "conv1.weight"
    for teacher in ("ema", "frozen"):
        module = FarSLIP(
            CLIPParameters(tiny_clip),
            distillation=Distillation(teacher, momentum=0.5),  # type: ignore[arg-type]
            optimizer=SGD,
        )
        start = module.clip.image.visual.get_parameter(name).clone()  # type: ignore[union-attr]
        train(module, tmp_path, steps=1)
        tuned = module.clip.image.visual.get_parameter(name)  # type: ignore[union-attr]
        assert module.teacher is not None
        followed = module.teacher.module.visual.get_parameter(name)  # type: ignore[union-attr]
        assert not torch.equal(tuned, start)
        expected = (start + tuned) / 2 if teacher == "ema" else start
        torch.testing.assert_close(followed, expected)


def test_locked_towers_stay(tiny_clip: str, tmp_path: Path) -> None:
    for lock, name in (
        ("image", "image.trunk.conv1.weight"),
        ("text", "text.module.ln_final.bias"),
    ):
        clip = CLIPParameters(tiny_clip, backbone="random:resnet18", image_size=32)
        module = FarSLIP(clip, lock=lock, optimizer=SGD)  # type: ignore[arg-type]
        start = {k: v.clone() for k, v in module.clip.state_dict().items()}
        train(module, tmp_path, steps=1)
        end = module.clip.state_dict()
        assert torch.equal(start[name], end[name])
        assert not torch.equal(start["image.head.proj.weight"], end["image.head.proj.weight"])
        if lock == "image":
            assert torch.equal(
                start["image.trunk.bn1.running_mean"], end["image.trunk.bn1.running_mean"]
            )


def test_weight_decay_spares_norms_tokens_and_positions(tiny_clip: str, tmp_path: Path) -> None:
    module = FarSLIP(CLIPParameters(tiny_clip))
    trainer = train(module, tmp_path, steps=1)
    decayed = {
        id(p)
        for group in trainer.optimizers[0].param_groups
        if group["weight_decay"]
        for p in group["params"]
    }
    named = dict(module.clip.named_parameters())
    for name in (
        "image.visual.positional_embedding",
        "image.visual.class_embedding",
        "logit_scale",
    ):
        assert id(named[name]) not in decayed
    assert id(named["image.visual.proj"]) in decayed
    assert id(named["text.module.token_embedding.weight"]) in decayed


def test_checkpoints_become_folders_and_mix_with_the_start(tiny_clip: str, tmp_path: Path) -> None:
    module = FarSLIP(CLIPParameters(tiny_clip), optimizer=SGD, seed=3)
    start = {k: v.clone() for k, v in module.clip.state_dict().items()}
    trainer = train(module, tmp_path)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    tuned = module.clip.state_dict()
    name = "image.visual.proj"
    assert torch.equal(load_clip(tmp_path / "last.ckpt").state_dict()[name], tuned[name])
    for alpha in (1.0, 0.25):
        folder = export_checkpoint(tmp_path / "last.ckpt", tmp_path / f"{alpha}", alpha=alpha)
        mixed = load_clip(folder).state_dict()[name]
        torch.testing.assert_close(mixed, (1 - alpha) * start[name] + alpha * tuned[name])


def test_training_goes_on_from_a_folder(tiny_clip: str, tmp_path: Path) -> None:
    clip = CLIPParameters(tiny_clip, backbone="random:resnet18", image_size=32)
    folder = save_clip(FarSLIP(clip, seed=1).clip, tmp_path / "clip")
    module = FarSLIP(CLIPParameters(str(folder), dense_mode="vanilla"), optimizer=SGD, seed=2)
    name = "image.trunk.conv1.weight"
    start = load_clip(folder).state_dict()[name]
    assert torch.equal(module.clip.state_dict()[name], start)
    train(module, tmp_path)
    assert not torch.equal(module.clip.state_dict()[name], start)
    with pytest.raises(ValueError, match="its own backbone: leave out"):
        FarSLIP(CLIPParameters(str(folder), backbone="random:resnet18"))


def test_a_folder_keeps_its_dense_mode_unless_another_is_given(
    tiny_clip: str, tmp_path: Path
) -> None:
    for mode in ("vanilla", "sclip_published"):
        folder = save_clip(
            FarSLIP(CLIPParameters(tiny_clip, dense_mode=mode)).clip,  # type: ignore[arg-type]
            tmp_path / mode,
        )
        module = FarSLIP(CLIPParameters(str(folder)), optimizer=SGD)
        assert module.clip.image.dense_mode == mode
        trainer = train(module, tmp_path, steps=1)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        again = load_clip(export_checkpoint(tmp_path / "last.ckpt", tmp_path / "next"))
        assert again.image.dense_mode == mode
    assert FarSLIP(CLIPParameters(tiny_clip)).clip.image.dense_mode == "segearth"
    given = FarSLIP(CLIPParameters(str(folder), dense_mode="clearclip")).clip
    assert given.image.dense_mode == "clearclip"


def test_a_checkpoint_can_be_read_in_another_dense_mode(tiny_clip: str, tmp_path: Path) -> None:
    clip = CLIPParameters(tiny_clip, backbone="random:vit_tiny_patch16_224", dense_mode="vanilla")
    module = FarSLIP(CLIPParameters(**(asdict(clip) | {"image_size": 32})), optimizer=SGD)
    train(module, tmp_path, steps=1).save_checkpoint(tmp_path / "last.ckpt")
    pixels = batch_of([0, 1])["images"]
    dense = {
        mode: load_clip(tmp_path / "last.ckpt", dense_mode=mode).encode_images(pixels).dense  # type: ignore[arg-type]
        for mode in (None, "vanilla", "segearth")
    }
    torch.testing.assert_close(dense[None], dense["vanilla"])
    assert not torch.allclose(dense["segearth"], dense["vanilla"], atol=1e-3)


def test_sigmoid_similarity_starts_at_ten_and_minus_ten(tiny_clip: str, tmp_path: Path) -> None:
    def start(spec: str, **given: Any) -> tuple[float, float | None]:
        clip = FarSLIP(CLIPParameters(spec, **given), similarity="sigmoid").clip
        return clip.start_of_similarity

    siglip = pytest.approx((math.log(10), -10.0))
    assert start(tiny_clip) == siglip
    assert start(tiny_clip, logit_scale=1.0, logit_bias=-2.0) == (1.0, -2.0)
    # A model of open_clip that is described as SigLIP's, untrained.
    described = json.loads(Path(tiny_clip).read_text()) | {"init_logit_bias": -10}
    (tmp_path / "tiny_siglip.json").write_text(json.dumps(described))
    assert start(str(tmp_path / "tiny_siglip.json")) == siglip
    untrained = load_clip(tmp_path / "tiny_siglip.json")
    assert (float(untrained.logit_scale), float(untrained.logit_bias)) == siglip  # type: ignore[arg-type]
    # One that a softmax has trained has a scale that means something else, and no bias.
    infonce = FarSLIP(CLIPParameters(tiny_clip)).clip
    assert float(infonce.logit_scale) == pytest.approx(math.log(1 / 0.07))
    assert infonce.logit_bias is None
    folder = save_clip(infonce, tmp_path / "infonce")
    assert start(str(folder)) == siglip
    weights = str(folder / "open_clip_model.safetensors")
    assert start(tiny_clip, weights=weights) == siglip
    # What SigLIP's loss has trained goes on from where it is.
    trained = FarSLIP(CLIPParameters(tiny_clip), similarity="sigmoid").clip
    with torch.no_grad():
        trained.logit_scale.fill_(3.0)
        assert trained.logit_bias is not None
        trained.logit_bias.fill_(-12.0)
    folder = save_clip(trained, tmp_path / "sigmoid")
    assert start(str(folder)) == (3.0, -12.0)
    assert start(str(folder), logit_bias=-5.0) == (3.0, -5.0)
    weights = str(folder / "open_clip_model.safetensors")
    assert start(str(tmp_path / "tiny_siglip.json"), weights=weights) == (3.0, -12.0)


def test_mixing_with_the_start_knows_scale_and_bias_of_siglip(
    tiny_clip: str, tmp_path: Path
) -> None:
    module = FarSLIP(CLIPParameters(tiny_clip), similarity="sigmoid", optimizer=SGD)
    train(module, tmp_path).save_checkpoint(tmp_path / "last.ckpt")
    start = load_clip(export_checkpoint(tmp_path / "last.ckpt", tmp_path / "start", alpha=0.0))
    assert float(start.logit_scale) == pytest.approx(math.log(10))
    assert float(start.logit_bias) == -10  # type: ignore[arg-type]


def test_the_published_region_loss_is_that_of_its_formula(tiny_clip: str) -> None:
    weights = FarSLIPWeights(0.0, 0.0, 1.0)
    module = FarSLIP(CLIPParameters(tiny_clip), weights=weights, region_loss="published")
    batch = batch_of([1, 2, 4, 5])
    loss = module.losses(batch)["region_text"]
    texts = batch["region_texts"]
    assert len(texts) > len(set(texts)) > 1  # a category repeats
    with torch.no_grad():
        images = module.clip.image.read(module._colour(batch["region_images"])).pooled
        v = F.normalize(images, dim=1).double().numpy()
        u = F.normalize(module.clip.encode_texts(texts), dim=1).double().numpy()
        scale = float(module.clip.scale)
    same = np.array([[float(a == b) for b in texts] for a in texts])
    target = same / same.sum(axis=1, keepdims=True)
    total = 0.0
    for logits in (scale * v @ u.T, scale * u @ v.T):
        share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        total -= (target * np.log(share)).sum(axis=1).mean() / 2
    assert float(loss.detach()) == pytest.approx(total, rel=1e-5)
    ours = FarSLIP(CLIPParameters(tiny_clip), weights=weights)
    assert float(ours.losses(batch)["region_text"].detach()) < total - 0.1
    with pytest.raises(ValueError, match=r"class_balance needs model\.region_loss=unique"):
        FarSLIP(
            CLIPParameters(tiny_clip), weights=weights, region_loss="published", class_balance=True
        )


def test_sigmoid_similarity_learns_its_bias(tiny_clip: str, tmp_path: Path) -> None:
    module = FarSLIP(CLIPParameters(tiny_clip), similarity="sigmoid", optimizer=SGD)
    assert module.clip.logit_bias is not None
    train(module, tmp_path)
    assert float(module.clip.logit_bias) != -10.0


def test_a_loss_that_is_not_finite_stops_the_run(tiny_clip: str, tmp_path: Path) -> None:
    module = FarSLIP(CLIPParameters(tiny_clip))
    module.clip.image.visual.proj.data.fill_(float("nan"))  # type: ignore[union-attr]
    with pytest.raises(FloatingPointError, match=r"at step 0 \(image_text nan.*\): lower"):
        train(module, tmp_path)


def run_process(rank: int, port: int, spec: str, settings: dict[str, Any], folder: Path) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"WORLD_SIZE": "2", "NODE_RANK": "0", "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    module = FarSLIP(CLIPParameters(spec), weights=ALL, optimizer=SGD, **settings)
    train(module, folder, processes=2)
    if rank == 0:
        torch.save(module.state_dict(), folder / "two.pt")
    # Threads of the group that outlive the interpreter abort the process now and then.
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_equal_one(tiny_clip: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"class_balance": True, "distillation": Distillation("ema")}
    module = FarSLIP(CLIPParameters(tiny_clip), weights=ALL, optimizer=SGD, **settings)
    start = {k: v.clone() for k, v in module.state_dict().items()}
    train(module, tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(run_process, (port, tiny_clip, settings, tmp_path), nprocs=2)  # type: ignore[attr-defined]
    two = torch.load(tmp_path / "two.pt", weights_only=True)
    moved = 0.0
    for name, tensor in module.state_dict().items():
        moved = max(moved, float((tensor - start[name]).abs().max()))
        torch.testing.assert_close(two[name], tensor, atol=1e-5, rtol=1e-4, msg=name)
    assert moved > 1e-3  # what is compared has been trained


def test_checkpointing_activations_changes_no_gradient(tiny_clip: str) -> None:
    gradients = []
    for checkpointing in (False, True):
        module = FarSLIP(CLIPParameters(tiny_clip), weights=ALL, grad_checkpointing=checkpointing)
        module.total(module.losses(batch_of([1, 2]))).backward()
        gradients.append(module.clip.image.visual.conv1.weight.grad)  # type: ignore[union-attr]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ("weights", "regions", "message"),
    [
        (FarSLIPWeights(1.0, 1.0, 0.0), "none", "distillation needs regions"),
        (FarSLIPWeights(1.0, 0.0, 1.0), "random", "region_text needs .*annotated, not random"),
    ],
)
def test_losses_of_regions_need_regions(
    weights: FarSLIPWeights, regions: Any, message: str, tiny_clip: str, tmp_path: Path
) -> None:
    module = FarSLIP(CLIPParameters(tiny_clip), weights=weights)
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
    module = FarSLIP(CLIPParameters(tiny_clip), weights=ALL)
    with pytest.raises(ValueError, match="CaptionTable has captions only, no annotated regions"):
        trainer.fit(module, ImageTextData(table, view, batch_size=1, num_workers=0))
    view = ImageTextView(size=48, regions="annotated")
    with pytest.raises(ValueError, match=r"size 48 differs from the image tower's 32: set one"):
        trainer.fit(module, ImageTextData(SceneTexts(8), view, batch_size=4, num_workers=0))


def test_an_epoch_without_regions_says_so(
    tiny_clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = BoxLimits(min_area=1e6)  # no box of a small scene
    for weights, said in ((ALL, True), (FarSLIPWeights(1.0, 0.0, 0.0), False)):
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
        trainer.fit(FarSLIP(CLIPParameters(tiny_clip), weights=weights), data)
        assert ("epoch 1: 0 regions used" in capsys.readouterr().out) == said


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


def test_a_teacher_with_batch_norm_passes_a_batch_without_regions(tiny_clip: str) -> None:
    clip = CLIPParameters(tiny_clip, backbone="random:resnet18", image_size=32)
    module = FarSLIP(clip, distillation=Distillation("ema"))
    terms = module.losses(batch_of([0, 3]))  # images without regions
    assert float(terms["distillation"].detach()) == 0
