from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

pytest.importorskip("rasterio")

import rasterio

from benchmarks.change_detection.files import find_pairs
from benchmarks.change_detection.tiling import cut_pairs, main

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
HEIGHT, WIDTH, SIZE = 20, 27, 8


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for folder, shape in (("A", (3,)), ("B", (3,)), ("label", ())):
        (tmp_path / "source" / folder).mkdir(parents=True)
        pixels = rng.integers(1, 256, (HEIGHT, WIDTH, *shape), dtype=np.uint8)
        PillowImage.fromarray(pixels).save(tmp_path / "source" / folder / "one.png")
    return tmp_path / "source"


def read(path: Path) -> np.ndarray:
    return np.array(PillowImage.open(path))


def test_tiles_make_up_the_images_again(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiles"
    assert cut_pairs(source, out, size=SIZE) == {"": 12}
    for kind, folder in enumerate(("A", "B", "label")):
        whole = read(source / folder / "one.png")
        again = np.zeros((24, 32, *whole.shape[2:]), dtype=np.uint8)
        for pair in find_pairs(out):
            row, column = map(int, pair.name.split("_")[-2:])
            again[row : row + SIZE, column : column + SIZE] = read(pair[kind])
        np.testing.assert_array_equal(again[:HEIGHT, :WIDTH], whole)
        assert not again[HEIGHT:].any()
        assert not again[:, WIDTH:].any()


def test_tiles_of_other_imagery_are_geotiffs(source: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).random((4, HEIGHT, WIDTH), dtype=np.float32)
    form = {"count": 4, "height": HEIGHT, "width": WIDTH, "dtype": "float32"}
    for folder in ("A", "B"):
        with rasterio.open(source / folder / "one.tif", "w", driver="GTiff", **form) as file:
            file.write(pixels)
        (source / folder / "one.png").unlink()
    cut_pairs(source, tmp_path / "tiles", size=SIZE)
    first = find_pairs(tmp_path / "tiles")[0]
    assert (first.first.suffix, first.label.suffix) == (".tif", ".png")
    with rasterio.open(first.first) as file:
        np.testing.assert_array_equal(file.read(), pixels[:, :SIZE, :SIZE])


def test_a_split_takes_every_tile_once(source: Path, tmp_path: Path) -> None:
    parts = {"train": 0.75, "val": 0.25}
    found = []
    for run in ("one", "two"):
        out = tmp_path / run
        assert cut_pairs(source, out, size=SIZE, split=parts) == {"train": 9, "val": 3}
        found.append({part: [p.name for p in find_pairs(out / part)] for part in parts})
    assert found[0] == found[1]
    assert len({*found[0]["train"], *found[0]["val"]}) == 12


def test_the_command_counts_and_names_faults(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tiles"
    main([str(source), str(out), "--size", "16"])
    assert f"{out}: 4 tiles" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=f"{out} is not empty"):
        main([str(source), str(out)])
    with pytest.raises(SystemExit, match="add up to 1"):
        main([str(source), str(tmp_path / "new"), "--split", "train=0.5", "val=0.4"])
    PillowImage.new("L", (5, 5)).save(source / "B" / "one.png")
    with pytest.raises(SystemExit, match=r"B/one\.png is 5 x 5.* must have one size"):
        main([str(source), str(tmp_path / "new")])
