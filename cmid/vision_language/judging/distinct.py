"""Items whose images (and questions) are no near-duplicates of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cmid.checkpoints.backbones import load_backbone
from cmid.data.near_duplicates import near_duplicates
from cmid.data.source import ImageSource
from cmid.data.splits import SubsetSource
from cmid.evaluation.features import PooledFeatures, extract_features
from cmid.evaluation.image_text import embed_images, embed_texts
from cmid.vision_language.clip.model import CLIP
from cmid.vision_language.clip.storage import load_clip
from cmid.vision_language.judging.config import AskingConfig, CandidatesConfig
from cmid.vision_language.judging.items import Images, Item

_CLIP = "clip:"


@dataclass(frozen=True)
class Distinct:
    """What is left of items.

    Attributes:
        items: one of each group.
        sizes: number of items of each group, the largest first.
    """

    items: list[Item]
    sizes: list[int]


def distinct_items(
    items: Sequence[Item], images: Images, config: CandidatesConfig, asking: AskingConfig
) -> Distinct:
    """Keep one of the items whose images are near-duplicates; of questions, both have to be.

    Raises:
        FileNotFoundError, ModuleNotFoundError, ValueError: as `load_backbone` and `load_clip`;
            also questions without a CLIP that could compare them.
    """
    spec = config.deduplicate or ""
    device = torch.device(asking.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    clip = load_clip(spec.removeprefix(_CLIP)).to(device) if spec.startswith(_CLIP) else None
    questions = [item.question for item in items]
    if any(questions) and clip is None:
        raise ValueError(
            f"--deduplicate {spec} cannot compare questions: give a CLIP as {_CLIP}SPEC"
        )
    # Images that are equal, or have several questions, are embedded once.
    place: dict[str, int] = {}
    for item in items:
        place.setdefault(images.digests[item.image], item.image)
    order = {digest: row for row, digest in enumerate(place)}
    source = SubsetSource(images.source, [*place.values()])
    features = _embed(spec, clip, source, asking, device)
    embeddings = [features[[order[images.digests[item.image]] for item in items]]]
    if any(questions) and clip is not None:
        embeddings.append(embed_texts(clip, questions))
    groups = near_duplicates(embeddings, config.threshold, keep=config.keep, search=config.search)
    return Distinct(
        [items[row] for row in groups.kept], sorted(groups.sizes.tolist(), reverse=True)
    )


def _embed(
    spec: str,
    clip: CLIP | None,
    source: ImageSource,
    asking: AskingConfig,
    device: torch.device,
) -> Tensor:
    if clip is not None:
        return embed_images(
            clip,
            source,
            batch_size=asking.batch_size,
            num_workers=asking.num_workers,
            progress="embeddings",
        )[0]
    backbone = load_backbone(spec).to(device)
    return extract_features(
        PooledFeatures(backbone.encoder),
        source,
        standardize=backbone.standardize,
        size=backbone.size,
        batch_size=asking.batch_size,
        num_workers=asking.num_workers,
        progress="embeddings",
    )[0]
