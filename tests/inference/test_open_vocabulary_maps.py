"""A CLIP over whole scenes: the nearest of some words, similarity to texts, embeddings."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cmid.evaluation.image_text import embed_texts
from cmid.evaluation.open_vocabulary import QuerySimilarities
from cmid.inference.streaming import Piece
from tests.evaluation.image_text_model import ColourCLIP, coloured
from tests.inference.test_maps import joined, noise, write
from tests.integration import in_process

rasterio = pytest.importorskip("rasterio")

from cmid.data.windows import Window  # noqa: E402
from cmid.inference.products import Classes, Similarities  # noqa: E402
from cmid.inference.scenes import Scene  # noqa: E402
from cmid.inference.streaming import map_scene  # noqa: E402
from cmid.inference.tiled import TiledScene  # noqa: E402
from cmid.inference.tiles import TileGrid  # noqa: E402


@pytest.fixture(scope="module")
def clip(tiny_clip: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a CLIP with random weights for images of 32 pixels."""
    pytest.importorskip("open_clip", reason="extra vision-language is not installed")
    from cmid.vision_language.clip.building import build_clip
    from cmid.vision_language.clip.config import CLIPConfig
    from cmid.vision_language.clip.storage import save_clip

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return save_clip(build_clip(CLIPConfig(tiny_clip)), tmp_path_factory.mktemp("m") / "clip")


def test_every_pixel_gets_the_class_whose_name_it_resembles(tmp_path: Path) -> None:
    model = ColourCLIP().eval()
    image = torch.cat([coloured(n, 40, 30) for n in ("red", "green", "blue")], dim=2).numpy()
    image[:, :8] = 0
    scene = Scene(write(tmp_path / "a.tif", image, nodata=0))
    members = (0, 0, 1, 2)
    queries = embed_texts(model, ["red", "a red", "green", "blue"])
    asked = QuerySimilarities(model, queries, fill=(127.0,) * 3)
    grid = TileGrid(height=40, width=90, size=16, halo=2, overlap=4)
    whole = joined(map_scene(asked, TiledScene(scene, Window(0, 0, 40, 90), grid, 20)))
    classes = Classes(("red", "green", "blue"), members=members)
    found = classes.bands(whole)[0]
    assert (found[:8] == 255).all()
    truth = np.repeat([0, 1, 2], 30)
    assert (found[8:] == truth).mean() > 0.95
    similarity = Similarities(classes.names, members)
    stored = similarity.bands(whole)
    assert (stored[:, :8] == similarity.nodata).all()
    assert (stored[:, 8:].argmax(axis=0) == found[8:]).mean() > 0.999  # ties after rounding


def test_of_a_class_the_name_that_fits_best_counts() -> None:
    values = np.array([0.1, 0.4, 0.3, -1.0], dtype=np.float32)[:, None, None]
    piece = Piece(0, 0, 0, values, np.zeros((1, 1), dtype=bool))
    assert Similarities(("a", "b"), (0, 1, 1, 0)).bands(piece).ravel().tolist() == [1000, 4000]
    assert Classes(("a", "b"), members=(1, 0, 1, 0)).bands(piece).item() == 0


def test_the_command_maps_words_phrases_and_embeddings(clip: Path, tmp_path: Path) -> None:
    scene = write(tmp_path / "a.tif", noise(50, 70))
    vocabulary = tmp_path / "classes.txt"
    vocabulary.write_text("water\nhouse, building\n")
    runs = {
        "words": ["--vocabulary", str(vocabulary), "--templates", "plain"],
        "phrases": ["--phrase", "a red roof", "ships in a harbour"],
        "cells": [],
    }
    files = {}
    for name, options in runs.items():
        out = tmp_path / name
        outcome = in_process.run("tools/map.py", clip, scene, "--out", out, *options)
        assert outcome.status == 0, outcome.err
        files[name] = sorted(path.name for path in out.iterdir())
    assert files == {
        "words": ["classes.tif", "similarity.tif"],
        "phrases": ["similarity.tif"],
        "cells": ["embeddings.tif"],
    }
    with rasterio.open(tmp_path / "words/classes.tif") as file:
        assert (file.height, file.width) == (50, 70)
        assert file.tags(1)["class_1"] == "house"
    with rasterio.open(tmp_path / "phrases/similarity.tif") as file:
        assert file.descriptions == ("a red roof", "ships in a harbour")
        similarity = file.read() * file.scales[0]
        assert np.abs(similarity).max() <= 1
    with rasterio.open(tmp_path / "cells/embeddings.tif") as file:
        cells = torch.from_numpy(file.read())
        assert file.transform.a == 80
    # Patches of the first tile, whose centre no other tile reaches.
    from cmid.vision_language.clip.storage import load_clip

    model = load_clip(clip)
    with rasterio.open(scene) as file:
        first = torch.from_numpy(file.read()[None, :, :32, :32])
    dense = F.normalize(model.encode_images(first).dense[0], dim=0)
    assert torch.allclose(cells[:, 0, 0], dense[:, 0, 0], atol=1e-3)
    text = embed_texts(model, ["a red roof"])[0]
    assert similarity[0, 3, 3] == pytest.approx(float(dense[:, 0, 0] @ text), abs=0.05)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tile", "64"], "reads tiles of 32: leave out --tile"),
        (["--vocabulary", "water"], "is neither a list"),
        (["--vocabulary", "a", "b", "--phrase", "c"], "give one at a time"),
        (["--bands", "1", "2"], "has 2 bands, .* reads 3"),
    ],
)
def test_what_a_clip_cannot_map_is_one_line(
    clip: Path, tmp_path: Path, options: list[str], said: str
) -> None:
    scene = write(tmp_path / "a.tif", noise(50, 50))
    outcome = in_process.run("tools/map.py", clip, scene, "--out", tmp_path / "maps", *options)
    assert outcome.status
    line = outcome.err.splitlines()[-1]
    assert line.startswith("error: ")
    assert re.search(said, line)
