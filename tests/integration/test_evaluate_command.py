from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from cmid.data import SceneSource, open_split
from cmid.export import to_timm
from cmid.models import MaskedEncoder
from tests.integration.in_process import ROOT, Outcome, run


def evaluate(*arguments: str | Path) -> Outcome:
    return run("tools/evaluate.py", *arguments, "--accelerator", "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scenes")
    source = SceneSource(120, size=32)
    for index in range(len(source)):
        scene = source.read(index)
        path = root / source.classes[scene.label] / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        PillowImage.fromarray(scene.pixels.permute(1, 2, 0).numpy()).save(path)
    return root


@pytest.mark.slow
def test_backbones_are_compared_and_features_cached(folder: Path, tmp_path: Path) -> None:
    export = to_timm(MaskedEncoder("resnet18", img_size=32), tmp_path / "export")
    options = ["--shots", "1", "--seeds", "2", "--cache", tmp_path / "cache"]
    options += ["--out", tmp_path / "scores.json"]
    for _ in range(2):
        done = evaluate(export, "random:resnet18", folder, "--size", "32", *options)
        assert done.status == 0, done.err
    assert "| backbone" in done.out
    assert "batch" not in done.err  # no progress bar: everything came from the cache
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["train_images"] == 100
    assert scores["results"].keys() == {str(export), "random:resnet18"}
    assert all(0.1 <= s["knn"] <= 1 for s in scores["results"].values())


@pytest.mark.slow
def test_two_processes_measure_what_one_measures(folder: Path, tmp_path: Path) -> None:
    options = ["--tasks", "knn", "retrieval", "--size", "32", "--precision", "32-true"]
    one, two = tmp_path / "1.json", tmp_path / "2.json"
    alone = evaluate("random:resnet18", folder, "--devices", "1", *options, "--out", one)
    assert alone.status == 0, alone.err
    # Lightning starts the second process with the command line of the first one.
    command = [sys.executable, "tools/evaluate.py", "random:resnet18", str(folder), *options]
    command += ["--accelerator", "cpu", "--devices", "2", "--out", str(two)]
    together = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert together.returncode == 0, together.stderr
    for printed in (alone.out, together.stdout):
        assert printed.count("| backbone") == 1
    scores = [json.loads(p.read_text())["results"]["random:resnet18"] for p in (one, two)]
    assert scores[1] == pytest.approx(scores[0])


@pytest.mark.slow
def test_bad_input_gets_one_line(folder: Path, tmp_path: Path) -> None:
    statistics = {"mean": [0.5] * 5, "std": [0.2] * 5}
    encoder = MaskedEncoder("resnet18", in_chans=5, img_size=32)
    export = to_timm(encoder, tmp_path / "five", statistics=statistics)
    for arguments, message in {
        (export, folder): "the images have 3 bands, the backbone reads 5",
        ("random:resnet18", tmp_path / "missing"): "does not exist",
        (tmp_path / "nothing", folder): "no backbone",
    }.items():
        done = evaluate(*arguments)
        assert done.status == 1
        assert message in done.err
        assert done.err.strip().splitlines()[-1].startswith("error: ")
        assert "Traceback" not in done.err


@pytest.mark.slow
def test_folders_of_rasters_are_evaluated_with_their_bands(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    draws = np.random.default_rng(0)
    shape = {"driver": "GTiff", "dtype": "uint8", "count": 5, "height": 32, "width": 32}
    for label, mean in (("dark", 50), ("bright", 150)):
        (tmp_path / "tiles" / label).mkdir(parents=True)
        for number in range(10):
            with rasterio.open(tmp_path / f"tiles/{label}/{number}.tif", "w", **shape) as file:
                file.write(draws.integers(mean, mean + 50, (5, 32, 32), dtype=np.uint8))
    statistics = {"mean": [0.5] * 5, "std": [0.2] * 5}
    encoder = MaskedEncoder("resnet18", in_chans=5, img_size=32)
    export = to_timm(encoder, tmp_path / "five", statistics=statistics)
    chosen = [export, f"random:{export}", tmp_path / "tiles", "--bands", "all", "--tasks", "knn"]
    done = evaluate(*chosen, "--k", "1", "--out", tmp_path / "scores.json")
    assert done.status == 0, done.err
    scores = json.loads((tmp_path / "scores.json").read_text())["results"]
    assert scores.keys() == {str(export), f"random:{export}"}
    assert all(own["knn"] == 1 for own in scores.values())


def test_split_is_stratified_and_disjoint(folder: Path) -> None:
    train, test = open_split(folder, seed=1)
    again, _ = open_split(folder, seed=1)
    assert train.indices.tolist() == again.indices.tolist()  # type: ignore[attr-defined]
    assert not set(train.indices) & set(test.indices)  # type: ignore[attr-defined]
    labels = [test.read(index).label for index in range(len(test))]
    assert {labels.count(c) for c in range(10)} <= {2, 3}
    with pytest.raises(ValueError, match="classes: put the images"):
        open_split(folder / "forest")
