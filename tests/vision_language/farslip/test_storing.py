"""What becomes of a training: checkpoints, folders, and what they start."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("open_clip", reason="extra vision-language is not installed")

from cmid.vision_language.clip.config import CLIPConfig
from cmid.vision_language.clip.storage import export_checkpoint, load_clip, save_clip
from cmid.vision_language.farslip.module import (
    FarSLIP,
)
from tests.vision_language.farslip.batches import SGD, batch_of, train


def test_checkpoints_become_folders_and_mix_with_the_start(tiny_clip: str, tmp_path: Path) -> None:
    module = FarSLIP(CLIPConfig(tiny_clip), optimizer=SGD, seed=3)
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
    clip = CLIPConfig(tiny_clip, backbone="random:resnet18", image_size=32)
    folder = save_clip(FarSLIP(clip, seed=1).clip, tmp_path / "clip")
    module = FarSLIP(CLIPConfig(str(folder), dense_mode="vanilla"), optimizer=SGD, seed=2)
    name = "image.trunk.conv1.weight"
    start = load_clip(folder).state_dict()[name]
    assert torch.equal(module.clip.state_dict()[name], start)
    train(module, tmp_path)
    assert not torch.equal(module.clip.state_dict()[name], start)
    with pytest.raises(ValueError, match="its own backbone: leave out"):
        FarSLIP(CLIPConfig(str(folder), backbone="random:resnet18"))


def test_a_folder_keeps_its_dense_mode_unless_another_is_given(
    tiny_clip: str, tmp_path: Path
) -> None:
    for mode in ("vanilla", "sclip_published"):
        folder = save_clip(
            FarSLIP(CLIPConfig(tiny_clip, dense_mode=mode)).clip,  # type: ignore[arg-type]
            tmp_path / mode,
        )
        module = FarSLIP(CLIPConfig(str(folder)), optimizer=SGD)
        assert module.clip.image.dense_mode == mode
        trainer = train(module, tmp_path, steps=1)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        again = load_clip(export_checkpoint(tmp_path / "last.ckpt", tmp_path / "next"))
        assert again.image.dense_mode == mode
    assert FarSLIP(CLIPConfig(tiny_clip)).clip.image.dense_mode == "segearth"
    given = FarSLIP(CLIPConfig(str(folder), dense_mode="clearclip")).clip
    assert given.image.dense_mode == "clearclip"


def test_a_checkpoint_can_be_read_in_another_dense_mode(tiny_clip: str, tmp_path: Path) -> None:
    clip = CLIPConfig(tiny_clip, backbone="random:vit_tiny_patch16_224", dense_mode="vanilla")
    module = FarSLIP(CLIPConfig(**(asdict(clip) | {"image_size": 32})), optimizer=SGD)
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
        clip = FarSLIP(CLIPConfig(spec, **given), similarity="sigmoid").clip
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
    infonce = FarSLIP(CLIPConfig(tiny_clip)).clip
    assert float(infonce.logit_scale) == pytest.approx(math.log(1 / 0.07))
    assert infonce.logit_bias is None
    folder = save_clip(infonce, tmp_path / "infonce")
    assert start(str(folder)) == siglip
    weights = str(folder / "open_clip_model.safetensors")
    assert start(tiny_clip, weights=weights) == siglip
    # What SigLIP's loss has trained goes on from where it is.
    trained = FarSLIP(CLIPConfig(tiny_clip), similarity="sigmoid").clip
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
    module = FarSLIP(CLIPConfig(tiny_clip), similarity="sigmoid", optimizer=SGD)
    train(module, tmp_path).save_checkpoint(tmp_path / "last.ckpt")
    start = load_clip(export_checkpoint(tmp_path / "last.ckpt", tmp_path / "start", alpha=0.0))
    assert float(start.logit_scale) == pytest.approx(math.log(10))
    assert float(start.logit_bias) == -10  # type: ignore[arg-type]
