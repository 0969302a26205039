"""CLIP from an image tower and a text tower, and the mixing of two of them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cmid.models.dual_encoder import ImageFeatures
from cmid.vision_language.clip.image_towers import ImageTower
from cmid.vision_language.clip.text_tower import TextTower

MAX_LOGIT_SCALE = math.log(100)
# Where SigLIP's loss starts (arXiv:2303.15343): nearly all pairs are wrong ones, and look so.
SIGLIP_LOGIT_SCALE = math.log(10)
SIGLIP_LOGIT_BIAS = -10.0


class CLIP(nn.Module):
    """Two towers and the scale of their similarities (arXiv:2103.00020).

    Attributes:
        image: images to pooled and dense features.
        text: texts to features.
        logit_scale: natural logarithm of the factor of cosine similarities, as open_clip keeps it.
        logit_bias: learned bias of SigLIP's logits, or None.
        model_cfg: open_clip's configuration, with which `save_clip` describes the model.
        origin: what else rebuilds it: plain values.
    """

    def __init__(
        self,
        image: ImageTower,
        text: TextTower,
        *,
        logit_scale: float = math.log(1 / 0.07),
        logit_bias: float | None = None,
        model_cfg: Mapping[str, Any] | None = None,
        origin: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.image = image
        self.text = text
        self.logit_scale = nn.Parameter(torch.tensor(float(logit_scale)))
        self.logit_bias = None if logit_bias is None else nn.Parameter(torch.tensor(logit_bias))
        self.model_cfg = dict(model_cfg or {})
        self.origin = dict(origin or {})

    @property
    def size(self) -> int:
        """Pixels per side of an image."""
        return self.image.size

    @property
    def scale(self) -> Tensor:
        """The factor of cosine similarities, at most 100."""
        return self.logit_scale.clamp(0, MAX_LOGIT_SCALE).exp()

    @property
    def start_of_similarity(self) -> tuple[float, float | None]:
        """Scale (natural logarithm) and bias as they are now: those of training, at its start."""
        bias = None if self.logit_bias is None else float(self.logit_bias.detach())
        return float(self.logit_scale.detach()), bias

    @property
    def digest(self) -> str:
        """Hash of the architecture and the weights as they are now."""
        about = {k: self.model_cfg.get(k) for k in ("vision_cfg", "text_cfg", "quick_gelu")}
        about["trunk"] = self.origin.get("trunk")
        text = f"{json.dumps(about, sort_keys=True)} {self.image.statistics}"
        digest = hashlib.sha256(f"{text} {self.image.dense_mode}".encode())
        for name, tensor in self.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def encode_images(self, images: Tensor) -> ImageFeatures:
        """Pooled and dense features of ``(B, C, size, size)`` images as stored, not normalised."""
        return self.image(images)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Features ``(N, E)`` of texts, not normalised."""
        return self.text(texts)


def interpolate(start: CLIP, tuned: CLIP, alpha: float) -> CLIP:
    """Mix the weights of two CLIPs of one architecture (WiSE-FT, arXiv:2109.01903).

    ``(1 - alpha) * start + alpha * tuned``, written into ``tuned``, which is returned: what was
    learned is kept in part, and so is the zero-shot ability of the start.

    Raises:
        ValueError: alpha outside [0, 1], or other weights than those of ``tuned``.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha {alpha} is not in [0, 1]")
    first, second = start.state_dict(), tuned.state_dict()
    odd = [k for k in first.keys() | second.keys() if k not in first or k not in second]
    odd += [k for k in first.keys() & second.keys() if first[k].shape != second[k].shape]
    if odd:
        raise ValueError(f"the two models differ in {len(odd)} weights, first {sorted(odd)[0]}")
    with torch.no_grad():
        for name, tensor in second.items():
            if tensor.is_floating_point():
                tensor.lerp_(first[name].to(tensor), 1 - alpha)
    return tuned
