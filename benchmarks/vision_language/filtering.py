"""Does filtering help? A CLIP trained on what each scorer keeps, on all, and on a random share.

python -m benchmarks.vision_language.filtering --clip CLIP --scorers SCORER --out DIR

A set of captions is corrupted: of generated scenes by what scorers are trained against, of other
data (--data, a table of captions) by giving images the captions of others. The filter keeps a share
by each scorer, and every selection is trained on for equally many steps by tools/train_clip.py.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated, Any

import numpy as np
import torch

from benchmarks.vision_language.data import SCENE_SEED
from cmid.command_line import command
from cmid.data.scenes import SCENE_CLASSES, SceneSource
from cmid.data.source import Draws, Image, MinSize
from cmid.evaluation.image_text_retrieval import image_text_retrieval
from cmid.evaluation.zero_shot import zero_shot_classification
from cmid.files import write_json
from cmid.options import at_least, option
from cmid.reporting import Row, Table, markdown_table
from cmid.vision_language.clip.storage import load_clip
from cmid.vision_language.data import CaptionTable, SceneTexts
from cmid.vision_language.data.parquet import open_parquet
from cmid.vision_language.data.source import ImageText, ImageTextSource
from cmid.vision_language.filtering.config import ChoiceConfig, EngineConfig, ScoringConfig
from cmid.vision_language.filtering.making import filter_sources
from cmid.vision_language.prompts.templates import CATEGORY_TEMPLATES
from cmid.vision_language.scoring.scene_preferences import ScenePreferences

_SEED = 1002  # of scenes that no scorer is trained on


@dataclass(frozen=True)
class HelpConfig:
    """What is measured.

    Attributes:
        clip: CLIP whose score is the baseline.
        scorers: folders of trained scorers.
        out: folder for selections, runs and filtering.json.
        data: table of captions to swap some of, instead of corrupted scenes; is not trained on.
        split: of the table.
        scenes: number of captioned scenes.
        corrupted: share of captions that are corrupted or swapped.
        keep: share that is kept.
        steps: training steps of each CLIP; 0 only counts what is found.
        seeds: of training.
        architecture: the CLIP that is trained on each selection, from random weights.
        train: more options of tools/train_clip.py as NAME=VALUE.
        test: unseen scenes for zero-shot classification and retrieval.
    """

    clip: str = option()
    scorers: tuple[str, ...] = ()
    out: Path = option()
    data: Path | None = None
    split: str | None = None
    scenes: Annotated[int, at_least(20)] = 3000
    corrupted: Annotated[float, at_least(0, 1)] = 0.4
    keep: Annotated[float, at_least(0, 1)] = 0.3
    steps: Annotated[int, at_least(0)] = 250
    seeds: tuple[int, ...] = (0, 1, 2)
    architecture: str = "configs/vision_language/models/vit_tiny_patch8_64.json"
    train: tuple[str, ...] = ()
    test: Annotated[int, at_least(20)] = 500


class CorruptedScenes(ImageTextSource):
    """One caption a scene, a share of them corrupted (`ScenePreferences.captions`)."""

    has_regions = False

    def __init__(self, num_images: int = 3000, corrupted: float = 0.4, seed: int = _SEED) -> None:
        preferences = ScenePreferences(num_images, seed=seed)
        self.about = num_images, corrupted, seed
        self.drawn = preferences.captions(corrupted)
        self.images = preferences.images[[each.index for each in self.drawn]]
        self.false = np.array([each.kind is not None for each in self.drawn])

    def __len__(self) -> int:
        return len(self.drawn)

    @property
    def digest(self) -> str:
        return hashlib.sha256(repr(("corrupted scenes", self.about)).encode()).hexdigest()

    def name(self, index: int) -> str:
        return f"scene/{self.about[2]}/{self.drawn[index].index}"

    def captions(self, index: int) -> tuple[str, ...]:
        return (self.drawn[index].text,)

    def decode(self, index: int, min_size: MinSize, generator: Draws) -> ImageText:
        image = self.images[index]
        size = image.shape[1], image.shape[2]
        return ImageText(Image(image, size, name=self.name(index)), self.captions(index))


class SwappedCaptions(ImageTextSource):
    """The first caption of each image of a source; a share have that of an image unlike it."""

    has_regions = False

    def __init__(self, source: ImageTextSource, share: float, *, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.source = source
        self.texts = [source.captions(index)[0] for index in range(len(source))]
        self.false = np.zeros(len(source), dtype=bool)
        true = [frozenset(source.captions(index)) for index in range(len(source))]
        for index in rng.permutation(len(source))[: round(share * len(source))].tolist():
            others = rng.permutation(len(source)).tolist()
            other = next(k for k in others if not true[k] & true[index])
            self.texts[index] = source.captions(other)[0]
            self.false[index] = True

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def digest(self) -> str:
        return hashlib.sha256("\n".join([self.source.digest, *self.texts]).encode()).hexdigest()

    def name(self, index: int) -> str:
        return self.source.name(index)

    def captions(self, index: int) -> tuple[str, ...]:
        return (self.texts[index],)

    def decode(self, index: int, min_size: MinSize, generator: Draws) -> ImageText:
        item = self.source.read(index, min_size=min_size)
        return ImageText(item.image, self.captions(index))


@command(HelpConfig, memory="--scenes")
def main(config: HelpConfig) -> None:
    """Filter, count what was found, train, evaluate; print a table and write all numbers."""
    source: CorruptedScenes | SwappedCaptions
    if config.data is None:
        source = CorruptedScenes(config.scenes, config.corrupted)
    else:
        table = CaptionTable(config.data, split=config.split)
        source = SwappedCaptions(table, config.corrupted)
    selections: dict[str, Path | None] = {"all": None}
    found: dict[str, dict[str, float]] = {"all": {"clean": float(np.mean(~source.false))}}
    for number, scorer in enumerate((config.clip, *config.scorers)):
        name = f"CLIP score of {Path(scorer).name}" if not number else Path(scorer).name
        selections[name] = out = config.out / f"selection_{number}.parquet"
        found[name] = _filter(source, scorer, out, config)
    trained: dict[str, list[dict[str, float]]] = {}
    if config.data is None and config.steps:
        selections["random"] = config.out / "random.parquet"
        _random(config.out / "selection_0.parquet", config.out / "random.parquet")
        for name, selection in selections.items():
            trained[name] = [_train(name, selection, seed, config) for seed in config.seeds]
            write_json(config.out / "filtering.json", {"found": found, "trained": trained})
    write_json(config.out / "filtering.json", {"found": found, "trained": trained})
    print(_table(found, trained))


def _filter(
    source: CorruptedScenes | SwappedCaptions, scorer: str, out: Path, config: HelpConfig
) -> dict[str, float]:
    filter_sources(
        [source],
        ["captions"],
        scoring=ScoringConfig(scorer=scorer),
        choosing=ChoiceConfig((config.keep,)),
        engine=EngineConfig(out=out),
    )
    with open_parquet(out) as file:
        rank = file.read(columns=["rank"]).column("rank").to_numpy()
    kept = rank <= int(config.keep * len(rank))
    # As many are dropped as are false: what share of them is?
    worst = rank > len(rank) - source.false.sum()
    counted = {"clean": float(np.mean(~source.false[kept]))}
    if source.false.any():
        counted["found"] = float(np.mean(worst[source.false]))
    return counted


def _random(selection: Path, out: Path) -> None:
    """A selection of as many pairs as another one keeps, drawn at random."""
    import pyarrow.parquet as pq

    table = pq.read_table(selection)
    kept = table.column("kept").to_numpy()
    drawn = np.random.default_rng(0).permutation(kept)
    place = table.column_names.index("kept")
    pq.write_table(table.set_column(place, "kept", [drawn]), out)


def _train(name: str, selection: Path | None, seed: int, config: HelpConfig) -> dict[str, float]:
    folder = config.out / f"{name.replace(' ', '_')}_{seed}"
    made = "benchmarks.vision_language.filtering.CorruptedScenes"
    arguments: dict[str, Any] = {
        "data.source": {
            "class_path": made,
            "init_args": {
                "num_images": config.scenes,
                "corrupted": config.corrupted,
                "seed": _SEED,  # that of the default configuration is another
            },
        },
        "model.clip.name": config.architecture,
        "trainer.max_steps": config.steps,
        "trainer.max_epochs": -1,
        "seed_everything": seed,
        "run_dir": folder,
        "zero_shot.source": "null",
    }
    if selection is not None:
        arguments["data.selection"] = selection
    words = [f"--{key}={value}" for key, value in arguments.items()]
    words += [f"--{option}" for option in config.train]
    done = folder / "options.json"
    if not done.is_file() or json.loads(done.read_text()) != words:
        subprocess.run([sys.executable, "tools/train_clip.py", *words], check=True)
        write_json(done, words)
    return _evaluate(folder / "clip", config.test)


def _evaluate(folder: Path, count: int) -> dict[str, float]:
    """Zero-shot accuracy and mean recall on clean scenes that nothing was trained on."""
    clip = load_clip(folder)
    with torch.inference_mode():
        labelled = SceneSource(count, seed=SCENE_SEED)
        accuracy = zero_shot_classification(
            clip, labelled, names=SCENE_CLASSES, templates=CATEGORY_TEMPLATES
        ).top1
        retrieval = image_text_retrieval(clip, SceneTexts(count, seed=SCENE_SEED))
    return {"zero-shot": accuracy, "mean recall": retrieval.recalls["mean"]}


def _table(found: dict[str, dict[str, float]], trained: dict[str, list[dict[str, float]]]) -> str:
    columns = ("clean", "found", "zero-shot", "mean recall")
    rows = []
    for name in dict.fromkeys([*found, *trained]):
        cells = [f"{found[name][c]:.3f}" if c in found.get(name, {}) else "" for c in columns[:2]]
        for column in columns[2:]:
            values = [run[column] for run in trained.get(name, ())]
            spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{mean(values):.3f}{spread}" if values else "")
        rows.append(Row(name, tuple(cells)))
    return markdown_table(Table(("trained on", *columns), tuple(rows)), aligned=True)


if __name__ == "__main__":
    main()
