"""Parameters that no loss reaches are frozen: several processes would wait for their gradients.

A frozen parameter is also left alone by weight decay, as one without a gradient is in a single
process: training is the same for any number of processes.
"""

from __future__ import annotations

import torch
from torch import nn

from cmid.methods.freezing import parameters_behind
from cmid.models.evaluating import evaluating
from cmid.vision_language.clip.image_towers import ImageTower
from cmid.vision_language.clip.model import CLIP
from cmid.vision_language.farslip.config import DistillationConfig, FarSLIPLossConfig


def lock_tower(clip: CLIP, which: str) -> list[nn.Module]:
    """Freeze a tower that stays as it is.

    Args:
        which: ``image`` (LiT: all but a new projection), ``text`` or ``none``.

    Returns:
        the modules that have to stay in evaluation mode.
    """
    modules: list[nn.Module] = []
    if which == "image":
        modules = clip.image.pretrained_modules()
    elif which == "text":
        modules = [clip.text]
    for module in modules:
        module.requires_grad_(False).eval()
    return modules


def freeze_unreached(
    clip: CLIP, weights: FarSLIPLossConfig, distillation: DistillationConfig, *, sigmoid: bool
) -> None:
    """Freeze what the losses of these weights do not reach.

    Without a loss of texts that is the text tower with scale and bias; without one of the pooled
    feature, what only this read-out needs (the MLP of a transformer's last block, queries and keys
    of an attention pooling).

    Args:
        sigmoid: whether whole images and captions are compared with a bias.

    Raises:
        ValueError: nothing is left that could be trained.
    """
    if not weights.texts:
        clip.text.requires_grad_(False)
        clip.logit_scale.requires_grad_(False)
    if clip.logit_bias is not None and not (sigmoid and weights.image_text):
        clip.logit_bias.requires_grad_(False)
    if not (weights.texts or distillation.trains_pooled):
        _freeze_pooled_only(clip.image)
    if not any(parameter.requires_grad for parameter in clip.parameters()):
        raise ValueError("model.lock and model.weights leave nothing that could be trained")


def _freeze_pooled_only(tower: ImageTower) -> None:
    """Freeze the parameters that the dense read-out does not depend on; one pass finds them."""
    image = torch.zeros(1, len(tower.statistics.mean), tower.size, tower.size)
    with torch.enable_grad(), evaluating(tower):  # statistics of BatchNorm stay
        used = parameters_behind(tower.read(image).dense)
    for parameter in tower.parameters():
        parameter.requires_grad_(parameter in used)
