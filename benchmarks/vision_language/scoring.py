"""Scorers on generated scenes, beside the CLIP's own score and a head that reads the text alone.

All of them judge unseen scenes: pairs of captions, and a set of captions of which a share is
corrupted. On frozen towers, heads are trained here, on embeddings that are computed once; scorers
that were trained by train_scorer are given as folders.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torchmetrics.functional.classification import binary_auroc
from tqdm import trange

from cmid.command_line import command
from cmid.evaluation.image_text import inference
from cmid.files import write_json
from cmid.options import at_least, option
from cmid.reporting import Row, Table, markdown_table
from cmid.vision_language.clip.storage import load_clip
from cmid.vision_language.clip.text_tower import TextFeatures
from cmid.vision_language.scoring.config import PreferenceLossConfig
from cmid.vision_language.scoring.dual_encoder import DualEncoderScorer, EncodedPairs
from cmid.vision_language.scoring.held_out import pair_accuracy
from cmid.vision_language.scoring.objective import preference_loss
from cmid.vision_language.scoring.preferences import Preference, PreferenceSource
from cmid.vision_language.scoring.scene_preferences import ScenePreferences
from cmid.vision_language.scoring.scorer import Scorer
from cmid.vision_language.scoring.storage import load_scorer

_TEST_SEED, _FILTER_SEED = 1001, 1002  # disjoint from training scenes


@dataclass(frozen=True)
class ScoringConfig:
    """What is measured.

    Attributes:
        clip: CLIP whose own score, and whose frozen towers, are measured.
        scorers: folders of trained scorers.
        train: scenes that heads are trained on.
        test: scenes whose pairs are judged.
        captions: scenes of the set with corrupted captions.
        corrupted: share of corrupted captions.
        keep: share of captions that is kept.
        steps: training steps of a head.
        batch: scenes of a step.
        seeds: of heads.
        patches: heads also see patches.
        centring: of the loss of heads: draws the scores of a pair to 0, which makes those of
            different images comparable.
        out: JSON file.
    """

    clip: str = option()
    scorers: tuple[str, ...] = ()
    train: Annotated[int, at_least(20)] = 4000
    test: Annotated[int, at_least(20)] = 1500
    captions: Annotated[int, at_least(20)] = 3000
    corrupted: Annotated[float, at_least(0, 1)] = 0.4
    keep: Annotated[float, at_least(0, 1)] = 0.3
    steps: Annotated[int, at_least(1)] = 600
    batch: Annotated[int, at_least(1)] = 32
    seeds: tuple[int, ...] = (0, 1, 2)
    patches: bool = False
    centring: Annotated[float, at_least(0)] = 0.02
    out: str | None = None


class OtherImages(PreferenceSource):
    """The preferences of a source, each with the image of another index."""

    def __init__(self, source: PreferenceSource) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def preferences(self, index: int) -> tuple[Preference, ...]:
        return self.source.preferences(index)

    def read(self, index: int) -> Tensor | None:
        return self.source.read((index + len(self) // 2) % len(self))


class TextAlone(nn.Module):
    """A scorer's head on texts, with nothing in the place of the image."""

    def __init__(self, scorer: DualEncoderScorer) -> None:
        super().__init__()
        self.scorer = scorer

    def score(self, images: Sequence[Any], texts: Sequence[str], questions: Any = None) -> Tensor:
        with inference(self):
            embedded = self.scorer.clip.encode_texts(texts)
            return self.scorer.compare(torch.zeros_like(embedded), embedded)


def train_head(
    scorer: DualEncoderScorer, source: ScenePreferences, config: ScoringConfig, *, seed: int,
    text_alone: bool = False,
) -> None:  # fmt: skip
    """Train the head of a scorer on frozen towers, every image and text encoded once."""
    texts = sorted(
        {t for k in range(len(source)) for p in source.preferences(k) for t in p.candidates}
    )
    place = {text: number for number, text in enumerate(texts)}
    with torch.no_grad():
        said = [scorer.clip.text.read([text]) for text in texts]
        seen = [scorer.clip.encode_images(part) for part in source.images.split(128)]
    pooled = torch.cat([part.pooled for part in seen])
    dense = torch.cat([part.dense for part in seen]) if config.patches else None
    if text_alone:
        pooled = torch.zeros_like(pooled)

    def score(scenes: Sequence[int], candidates: Sequence[str], questions: Any) -> Tensor:
        images, image_of = torch.tensor(scenes).unique(return_inverse=True)
        rows = {text: row for row, text in enumerate(dict.fromkeys(candidates))}
        pairs = EncodedPairs(
            pooled[images],
            None if dense is None else scorer.remember(dense[images]),
            _together([said[place[text]] for text in rows]),
            image_of,
            torch.tensor([rows[text] for text in candidates]),
        )
        return scorer.compare_encoded(pairs)

    head = [p for n, p in scorer.named_parameters() if not n.startswith("clip.")]
    optimizer = torch.optim.AdamW(head, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=config.steps)
    draws = torch.Generator().manual_seed(seed)
    compared = PreferenceLossConfig(name="pairs", centring=config.centring)
    for _ in trange(config.steps, desc="head", leave=False, disable=None):
        chosen = torch.randint(len(source), (config.batch,), generator=draws).tolist()
        preferences = [source.preferences(k) for k in chosen]
        loss, _ = preference_loss(score, [source.scene(k) for k in chosen], preferences, compared)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _together(texts: Sequence[TextFeatures]) -> TextFeatures:
    """Texts of one row each, in one."""
    tokens, masks = ([getattr(t, name)[0] for t in texts] for name in ("tokens", "mask"))
    return TextFeatures(
        torch.cat([t.pooled for t in texts]),
        pad_sequence(tokens, batch_first=True),
        pad_sequence(masks, batch_first=True),
    )


def judge(
    scorer: Scorer, test: ScenePreferences, captions: ScenePreferences, config: ScoringConfig
) -> dict[str, Any]:
    """Every number of one scorer."""
    start = time.perf_counter()
    pairs = pair_accuracy(scorer, test)
    seconds = time.perf_counter() - start
    drawn = captions.captions(config.corrupted)
    scores = torch.cat(
        [
            scorer.score([captions.images[c.index] for c in part], [c.text for c in part])
            for part in (drawn[k : k + 128] for k in range(0, len(drawn), 128))
        ]
    )
    clean = torch.tensor([each.kind is None for each in drawn])
    plain = torch.tensor([each.kind in (None, "mismatch") for each in drawn])
    return {
        "pairs": pairs.overall,
        "shuffled": pair_accuracy(scorer, OtherImages(test)).overall,
        "precision": _precision(scores, clean, config.keep),
        "AUC": float(binary_auroc(scores, clean.int())),
        "mismatch precision": _precision(scores[plain], clean[plain], config.keep),
        **pairs.kinds,
        "seconds": seconds,
    }


def _precision(scores: Tensor, clean: Tensor, keep: float) -> float:
    """Share of clean captions among the best ones."""
    best = scores.argsort(descending=True, stable=True)[: max(1, round(keep * len(scores)))]
    return float(clean[best].float().mean())


def _scorers(
    config: ScoringConfig, train: ScenePreferences
) -> list[tuple[str, Callable[[], Scorer]]]:
    def fresh(*, patches: bool = False) -> DualEncoderScorer:
        return DualEncoderScorer(load_clip(config.clip), patches=patches)

    def head(seed: int) -> Scorer:
        torch.manual_seed(seed)
        scorer = fresh(patches=config.patches)
        train_head(scorer, train, config, seed=seed)
        return scorer

    def text_head(seed: int) -> Scorer:
        torch.manual_seed(seed)
        scorer = fresh()
        train_head(scorer, train, config, seed=seed, text_alone=True)
        return TextAlone(scorer)

    found: list[tuple[str, Callable[[], Scorer]]] = [("CLIP score", fresh)]
    for name, make in (("text alone", text_head), ("frozen towers", head)):
        found += [(f"{name}, seed {seed}", partial(make, seed)) for seed in config.seeds]
    return found + [(folder, partial(load_scorer, folder)) for folder in config.scorers]


@command(ScoringConfig)
def main(config: ScoringConfig) -> None:
    """Measure, print a table as it grows, and keep the rows."""
    train = ScenePreferences(config.train, seed=0)
    test = ScenePreferences(config.test, seed=_TEST_SEED)
    captions = ScenePreferences(config.captions, seed=_FILTER_SEED)
    rows: list[dict[str, Any]] = []
    for name, make in _scorers(config, train):
        rows.append({"scorer": name, **judge(make(), test, captions, config)})
        print(
            {k: round(v, 3) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True
        )
        if config.out:
            write_json(Path(config.out), {"config": vars(config), "rows": rows})
    columns = [column for column in rows[0] if column != "seconds"]
    cells = tuple(Row(row["scorer"], tuple(f"{row[c]:.3f}" for c in columns[1:])) for row in rows)
    print(markdown_table(Table(tuple(columns), cells)))


if __name__ == "__main__":
    main()
