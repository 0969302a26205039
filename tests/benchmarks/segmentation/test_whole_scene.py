"""A generated scene as GeoTIFF: of one piece, its labels and changes fit; accuracy of maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cmid.data.scenes import SEMANTIC_CLASSES
from cmid.data.scenes.mosaic import mosaic
from tests.integration import in_process

rasterio = pytest.importorskip("rasterio")


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "scene"
    command = ["tools/make_scenes.py", "--task", "geotiff", "--size", "512", "--out", folder]
    outcome = in_process.run(*command, "--crs", "EPSG:32648")
    assert outcome.status == 0, outcome.err
    assert "4 tiles of it" in outcome.out
    again = in_process.run(*command)
    assert "is there already" in again.err
    return folder


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


def test_all_rasters_lie_on_one_grid_and_say_what_they_hold(scene):
    profiles = {}
    for name in ("first", "second", "labels", "change"):
        with rasterio.open(scene / f"{name}.tif") as file:
            profiles[name] = (file.crs.to_epsg(), file.transform, file.shape)
    assert len({*profiles.values()}) == 1
    assert profiles["first"][0] == 32648
    with rasterio.open(scene / "labels.tif") as file:
        assert [file.tags(1)[f"class_{n}"] for n in range(11)] == [*SEMANTIC_CLASSES]
        assert file.colormap(1)[4] == (50, 110, 220, 255)
    assert read(scene / "first.tif").shape == (4, 512, 512)


def test_labels_change_where_the_change_raster_says_so_and_colours_do(scene):
    first, second = (read(scene / f"{name}.tif").astype(float) for name in ("first", "second"))
    labels, change = read(scene / "labels.tif")[0], read(scene / "change.tif")[0]
    assert 0.005 < change.mean() < 0.4
    assert len(np.unique(labels)) >= 6
    # Water is dark in the infrared, also beside other places: one product, one stretch.
    water = labels == SEMANTIC_CLASSES.index("water")
    trees = labels == SEMANTIC_CLASSES.index("trees")
    assert first[3][water].mean() + 20 < first[3][trees].mean()
    differences = np.abs(first - second).mean(axis=0)
    differences -= np.median(differences)
    assert differences[change == 1].mean() > differences[change == 0].mean()


def test_tiles_are_the_upper_quarter(scene):
    tiles = sorted((scene / "quarter/img_dir").rglob("*.tif"))
    assert [tile.parent.name for tile in tiles] == ["train"] * 4
    whole = {name: read(scene / f"{name}.tif") for name in ("first", "second", "labels", "change")}
    folders = {"first": "img_dir", "second": "second_dir", "labels": "ann_dir"}
    for number, tile in enumerate(tiles):
        columns = slice(128 * number, 128 * (number + 1))
        for name, folder in {**folders, "change": "change_dir"}.items():
            (part,) = (scene / "quarter" / folder / "train").glob(f"{tile.stem}.*")
            assert np.array_equal(read(part), whole[name][:, :128, columns])


def test_a_scene_is_the_same_for_a_seed_and_has_no_straight_borders():
    def whole(seed):
        strips = [*mosaic(160, num_bands=3, seed=seed)]
        assert [strip.row for strip in strips] == [0, 128]
        return np.concatenate([strip.labels for strip in strips])

    assert np.array_equal(whole(0), whole(0))
    assert not np.array_equal(whole(0), whole(1))
    with pytest.raises(ValueError, match="size >= 16 and bands >= 3"):
        next(mosaic(8))


def test_accuracy_counts_where_map_and_truth_lie_over_each_other(scene, tmp_path):
    labels = read(scene / "labels.tif")[0]
    with rasterio.open(scene / "labels.tif") as file:
        profile, transform = file.profile, file.transform
    wrong = labels[100:300, 50:250].copy()
    wrong[:50] = 10
    wrong[150:] = 255
    place = {"height": 200, "width": 200, "transform": transform * transform.translation(50, 100)}
    with rasterio.open(tmp_path / "map.tif", "w", **{**profile, **place, "nodata": 255}) as file:
        file.write(wrong, 1)
    words = [tmp_path / "map.tif", scene / "labels.tif"]
    outcome = in_process.run("benchmarks/segmentation/accuracy.py", *words)
    assert outcome.status == 0, outcome.err
    right = (wrong == labels[100:300, 50:250])[:150].mean()
    assert f"overall accuracy {100 * right:.1f}" in outcome.out
    assert "30000 pixels" in outcome.out
    moved = {**place, "transform": transform * transform.translation(0.5, 0), "nodata": 255}
    with rasterio.open(tmp_path / "map.tif", "w", **{**profile, **moved}) as file:
        file.write(wrong, 1)
    outcome = in_process.run("benchmarks/segmentation/accuracy.py", *words)
    assert "has another grid than" in outcome.err
    bad = ["--task", "geotiff", "--out", tmp_path / "x"]
    for more, said in ((["--size", "256"], "has no quarter"), (["--crs", "no:1"], "--crs no:1")):
        outcome = in_process.run("tools/make_scenes.py", *bad, *more)
        assert said in outcome.err.splitlines()[-1]
    assert not (tmp_path / "x").exists()


def test_neighbours_among_cells_know_what_colours_tell(tmp_path, capsys):
    from benchmarks.segmentation.cells import main

    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, (4, 4)).repeat(128, axis=0).repeat(128, axis=1).astype(np.uint8)
    colours = [np.where(classes == n, 220, 30).astype(np.uint8) for n in range(3)]
    classes[:32, :32] = 255
    profile = {"driver": "GTiff", "width": 512, "height": 512, "dtype": "uint8"}
    for name, bands in (("scene", colours), ("labels", [classes])):
        with rasterio.open(tmp_path / f"{name}.tif", "w", count=len(bands), **profile) as file:
            file.write(np.stack(bands))
    command = ["random:test_resnet", "--scene", str(tmp_path / "scene.tif"), "--labels"]
    command += [str(tmp_path / "labels.tif"), "--side", "256", "--lefts", "0", "256"]
    main([*command, "--tops", "0", "256"])
    accuracy, common, labelled, asked = (
        float(cell) for cell in capsys.readouterr().out.splitlines()[-1].split("|")[2:-1]
    )
    assert (labelled, asked) == (127, 32)  # a cell of 32 pixels is unknown; every fourth is asked
    assert accuracy > 85 > common
    with pytest.raises(SystemExit, match=r"leave .*scene\.tif: lower them"):
        main([*command, "--tops", "0", "300"])
