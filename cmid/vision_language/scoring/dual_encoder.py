"""A scorer on the embeddings of a CLIP: cheap enough for billions of pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cmid.evaluation.config import Fit
from cmid.evaluation.image_text import fit_square
from cmid.precision import full_precision
from cmid.vision_language.clip.model import CLIP
from cmid.vision_language.clip.text_tower import TextFeatures
from cmid.vision_language.scoring.fusion import FusionEncoder
from cmid.vision_language.scoring.scorer import LearnedScorer


@dataclass(frozen=True)
class EncodedPairs:
    """``B`` pairs of ``n`` different images and ``m`` different texts.

    Attributes:
        pooled: ``(n, E)`` embeddings of the images.
        memory: what the head keeps of their patches, see `DualEncoderScorer.remember`.
        texts: ``(m, E)`` embeddings of the texts, and their tokens.
        image_of: ``(B,)`` int64, row of each pair's image.
        text_of: ``(B,)`` int64, row of its text.
    """

    pooled: Tensor
    memory: Tensor | None
    texts: TextFeatures
    image_of: Tensor
    text_of: Tensor


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
        patches: the perceptron also sees what `FusionEncoder` makes of the tokens of the text and
            the patches of the image: where things lie, which pooled embeddings do not tell.
    """

    def __init__(
        self, clip: CLIP, *, hidden: int = 512, fit: Fit = "crop", patches: bool = False
    ) -> None:
        super().__init__()
        self.clip, self.hidden, self.fit = clip, hidden, fit
        width = clip.image.embed_dim
        self.fusion = FusionEncoder(width, clip.text.token_width) if patches else None
        inputs = 4 * width + 1 + (self.fusion.width if self.fusion is not None else 0)
        self.head = nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, 1))
        for parameter in self.head[2].parameters():
            nn.init.zeros_(parameter)
        self.cosine_weight = nn.Parameter(clip.scale.detach().float().clone())

    @property
    def trunk(self) -> CLIP:
        return self.clip

    def towers(self) -> dict[str, list[nn.Module]]:
        return {"vision": [self.clip.image], "language": [self.clip.text]}

    def forward(
        self, images: Sequence[Tensor | None], texts: Sequence[str], questions: Sequence[str]
    ) -> Tensor:
        """Scores ``(B,)`` with a gradient; see `Scorer.score`."""
        if not len(texts):
            return self.cosine_weight.new_zeros(0)
        return self.compare_encoded(self.encode(images, texts, questions))

    def encode(
        self, images: Sequence[Tensor | None], texts: Sequence[str], questions: Sequence[str]
    ) -> EncodedPairs:
        """Encode ``B`` pairs, at least one; what is given several times is encoded once."""
        different = {id(image): image for image in images}
        if None in different.values():
            raise ValueError("a scorer on a CLIP needs an image with every text")
        pixels = torch.stack(
            [fit_square(image, self.clip.size, fit=self.fit) for image in different.values()]  # type: ignore[arg-type]
        )
        joined = [f"{q} {text}" if q else text for q, text in zip(questions, texts, strict=True)]
        rows = {text: row for row, text in enumerate(dict.fromkeys(joined))}
        places = {key: place for place, key in enumerate(different)}
        device = self.cosine_weight.device
        seen = self.clip.encode_images(pixels.to(device))
        return EncodedPairs(
            seen.pooled,
            self.remember(seen.dense),
            self.clip.text.read([*rows]),
            torch.tensor([places[id(image)] for image in images], device=device),
            torch.tensor([rows[text] for text in joined], device=device),
        )

    def compare_encoded(self, pairs: EncodedPairs) -> Tensor:
        """Scores ``(B,)``, see `compare`."""
        texts, fused = pairs.texts, None
        if self.fusion is not None and pairs.memory is not None:
            with full_precision(pairs.memory):
                tokens, mask = (x[pairs.text_of] for x in (texts.tokens.float(), texts.mask))
                fused = self.fusion(pairs.memory[pairs.image_of], tokens, mask)
        return self.compare(pairs.pooled[pairs.image_of], texts.pooled[pairs.text_of], fused)

    def remember(self, dense: Tensor) -> Tensor | None:
        """What `FusionEncoder` keeps of ``(B, E, N, M)`` patches; None for a head without it."""
        if self.fusion is None:
            return None
        with full_precision(dense):
            return self.fusion.remember(dense.float())

    def compare(self, images: Tensor, texts: Tensor, fused: Tensor | None = None) -> Tensor:
        """Scores ``(B,)`` of ``(B, E)`` embeddings, of any length and of any floating type.

        Args:
            fused: ``(B, W)`` of `FusionEncoder`, for a head that sees patches.
        """
        with full_precision(images):
            image, text = (F.normalize(x.float(), dim=1) for x in (images, texts))
            cosine = (image * text).sum(dim=1)  # (B,)
            v, t = (x * math.sqrt(x.shape[1]) for x in (image, text))
            pair = [v, t, v * t, (v - t).abs(), cosine[:, None]]
            if fused is not None:
                pair.append(fused)
            return self.head(torch.cat(pair, dim=1))[:, 0] + self.cosine_weight * cosine
