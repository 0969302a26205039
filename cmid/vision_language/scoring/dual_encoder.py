"""A scorer on the embeddings of a CLIP: cheap enough for billions of pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cmid.evaluation.config import Fit
from cmid.evaluation.image_text import fit_square
from cmid.precision import full_precision
from cmid.vision_language.clip.model import CLIP
from cmid.vision_language.scoring.scorer import LearnedScorer


class DualEncoderScorer(LearnedScorer):
    r"""A perceptron of two embeddings beside their cosine similarity.

    .. math:: r = w \cos(v, t) + \operatorname{MLP}([v, t, v \odot t, |v - t|, \cos(v, t)])

    with embeddings of unit variance, in float32. Untrained, the perceptron adds nothing and ``w``
    is the scale of the CLIP: the score is the CLIP's own, whose softmax over the texts of an image
    is the model of Bradley, Terry and Luce already. The cosine stays beside the perceptron so that
    plain mismatches are found as well as by the CLIP.

    A question and its answer are one text, the question first: the text tower cuts what is longer
    than its context.

    Args:
        clip: image and text tower, trained further or not as their ``requires_grad`` says.
        hidden: width of the perceptron.
        fit: how an image becomes a square, see
            :func:`cmid.evaluation.image_text.fit_square`.
    """

    def __init__(self, clip: CLIP, *, hidden: int = 512, fit: Fit = "crop") -> None:
        super().__init__()
        self.clip, self.hidden, self.fit = clip, hidden, fit
        width = clip.image.embed_dim
        self.head = nn.Sequential(nn.Linear(4 * width + 1, hidden), nn.GELU(), nn.Linear(hidden, 1))
        for parameter in self.head[2].parameters():
            nn.init.zeros_(parameter)
        self.cosine_weight = nn.Parameter(clip.scale.detach().float().clone())

    def forward(
        self, images: Sequence[Tensor], texts: Sequence[str], questions: Sequence[str]
    ) -> Tensor:
        """Scores ``(B,)`` with a gradient; see `Scorer.score`."""
        device = self.cosine_weight.device
        if not len(texts):
            return self.cosine_weight.new_zeros(0)
        pixels = torch.stack([fit_square(image, self.clip.size, fit=self.fit) for image in images])
        joined = [f"{q} {text}" if q else text for q, text in zip(questions, texts, strict=True)]
        return self.compare(
            self.clip.encode_images(pixels.to(device)).pooled, self.clip.encode_texts(joined)
        )

    def compare(self, images: Tensor, texts: Tensor) -> Tensor:
        """Scores ``(B,)`` of ``(B, E)`` embeddings, of any length and of any floating type."""
        with full_precision(images):
            image, text = (F.normalize(x.float(), dim=1) for x in (images, texts))
            cosine = (image * text).sum(dim=1)  # (B,)
            v, t = (x * math.sqrt(x.shape[1]) for x in (image, text))
            pair = torch.cat([v, t, v * t, (v - t).abs(), cosine[:, None]], dim=1)
            return self.head(pair)[:, 0] + self.cosine_weight * cosine
