"""Pretraining runs without random depth and dropout, unless they are asked for."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch

from cmid.checkpoints import load_backbone
from cmid.methods import CMID
from cmid.models import MaskedEncoder
from cmid.models.stochastic import switch_off_randomness

# Families of timm with a rate above 0 by default, in four ways: drop path by the class (Swin,
# NesT), by the entry point (FasterNet), dropout as a call (GhostNet) and as a layer (RexNet).
FAMILIES: dict[str, dict[str, Any]] = {
    "swin_tiny_patch4_window7_224": {"img_size": 64, "depths": (1, 1, 2, 1)},
    "swinv2_tiny_window8_256": {"img_size": 64, "depths": (1, 1, 2, 1)},
    "nest_tiny": {"img_size": 64},
    "fasternet_t2": {},
    "ghostnet_050": {},
    "rexnet_100": {},
}


def method(backbone: str, **backbone_args: Any) -> CMID:
    small = {"img_size": 64, "queue_size": 8, "num_prototypes": 8}
    return CMID(backbone, backbone_args=backbone_args, **small).train()


def differs(encoder: MaskedEncoder) -> bool:
    """Whether two passes over the same images in training mode have other pooled features."""
    images = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        for norm in (p for p in encoder.parameters() if p.ndim == 1):
            norm.add_(0.1)  # SwinV2's residual branches begin as zero
        first, second = (encoder.pool(encoder(images)) for _ in range(2))
    return not torch.equal(first, second)


@pytest.mark.parametrize("name", FAMILIES)
def test_pretraining_is_deterministic_where_timm_drops_by_default(name: str) -> None:
    torch.manual_seed(0)
    arguments = {k: v for k, v in FAMILIES[name].items() if k != "img_size"}
    model = method(name, **arguments)
    assert not differs(model.student.encoder)
    assert not differs(model.teacher_branch.encoder)
    assert differs(MaskedEncoder(name, **FAMILIES[name]).train())  # timm's own default


def test_a_rate_that_was_asked_for_acts_in_student_and_teacher() -> None:
    torch.manual_seed(0)
    model = method("swin_tiny_patch4_window7_224", depths=(1, 1, 2, 1), drop_path_rate=0.5)
    assert differs(model.student.encoder)
    assert differs(model.teacher_branch.encoder)


def test_each_kind_of_randomness_is_kept_by_its_own_argument() -> None:
    arguments = {"img_size": 64, "depths": (1, 1, 2, 1), "num_classes": 0}

    def kinds(*keep: str) -> set[str]:
        rates = {"drop_path_rate": 0.2, "proj_drop_rate": 0.1}
        network = timm.create_model("swin_tiny_patch4_window7_224", **arguments, **rates)
        switch_off_randomness(network, keep=keep)
        return {
            type(module).__name__
            for module in network.modules()
            if vars(module).get("drop_prob") or vars(module).get("p")
        }

    assert kinds() == set()
    assert kinds("drop_path_rate", "depths") == {"DropPath"}
    assert kinds("proj_drop_rate") == {"Dropout"}


def test_checkpoints_and_fine_tuning_keep_the_architectures_own_rates() -> None:
    encoder = method("swin_tiny_patch4_window7_224", depths=(1, 1, 2, 1)).student.encoder
    assert not any(key.endswith("drop_rate") or "drop_path" in key for key in encoder.model_args)
    again = load_backbone("random:swin_tiny_patch4_window7_224", img_size=64, drop_path_rate=0.5)
    assert differs(again.encoder.train())


def test_weights_and_evaluation_stay_as_they_were() -> None:
    torch.manual_seed(0)
    encoder = MaskedEncoder("swin_tiny_patch4_window7_224", img_size=64).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        before = encoder(images)
        names = set(encoder.backbone.state_dict())
        switch_off_randomness(encoder.backbone)
        assert torch.equal(encoder(images), before)
    assert set(encoder.backbone.state_dict()) == names
