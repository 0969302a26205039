from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.segmentation.colours import labels_of_colours
from benchmarks.segmentation.preparation import PreparationConfig, prepare, report
from benchmarks.segmentation.raw_data import RAW_DATA, find_pairs, usual_division
from cmid.data.raster_reading import read_raster
from cmid.data.windows import cut, tile
from cmid.data.writing import write_image

COLOURS = {label: colour for colour, label in RAW_DATA["potsdam"].colours.items()}
WHITE, BLUE, RED = COLOURS[1], COLOURS[2], COLOURS[6]
SMALL = {"size": 32, "stride": 32}


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def coloured(*colours: tuple[int, int, int]) -> np.ndarray:
    """40 x 50 pixels of vertical stripes."""
    stripes = np.array(colours, np.uint8)[np.arange(50) * len(colours) // 50]
    return np.tile(stripes, (40, 1, 1))


def noise(seed: int, bands: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (40, 50, bands), dtype=np.uint8)


def vaihingen(root: Path) -> Path:
    for number, area in enumerate(usual_division("vaihingen")):
        name = f"top_mosaic_09cm_area{area}"
        save(root / f"top/{name}.tif", noise(number))
        save(root / f"complete/{name}.tif", coloured(WHITE, RED))
        save(root / f"eroded/{name}_noBoundary.tif", coloured(WHITE, COLOURS[0], RED))
    save(root / "top/top_mosaic_09cm_area9.tif", noise(99))  # of no split
    return root


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vaihingen(tmp_path_factory.mktemp("vaihingen"))


def test_tiles_cover_an_image_as_mmsegmentations_do() -> None:
    potsdam = [window.box for window in tile(6000, 6000, size=512, stride=512)]
    assert len(potsdam) == len(set(potsdam)) == 144  # 3456 and 2016 over 24 and 14 images
    assert [x0 for x0, y0, *_ in potsdam if y0 == 0][-2:] == [5120, 5488]
    isaid = [window.box for window in tile(1400, 896, size=896, stride=512)]
    assert isaid == [(0, 0, 896, 896), (0, 504, 896, 1400)]
    covered = np.zeros((70, 90), int)
    for window in tile(70, 90, size=32, stride=20):
        x0, y0, x1, y1 = window.box
        assert (x1 - x0, y1 - y0) == (32, 32)
        covered[y0:y1, x0:x1] += 1
    assert covered.min() == 1


def test_small_images_are_padded() -> None:
    (window,) = tile(20, 30, size=32, stride=16)
    padded = cut(np.ones((20, 30), np.uint8), window, fill=255)
    assert padded.shape == (32, 32)
    assert (padded == 255).sum() == 32 * 32 - 20 * 30


def test_colours_become_labels() -> None:
    mask = coloured(*COLOURS.values())
    labels, unknown = labels_of_colours(mask, RAW_DATA["potsdam"].colours, name="a")
    assert unknown == 0
    assert np.array_equal(np.array(list(COLOURS.values()))[labels], mask)


def test_colours_of_no_class_are_named_or_resolved() -> None:
    mask = coloured(WHITE, (250, 3, 0), (9, 9, 9), (9, 9, 9))
    colours = RAW_DATA["potsdam"].colours
    message = r"b\.tif: \d+ pixels of 2 colours that no class has, most often \(9, 9, 9\) \(1000 "
    with pytest.raises(ValueError, match=message):
        labels_of_colours(mask, colours, name="b.tif")
    labels, unknown = labels_of_colours(mask, colours, name="b", unknown="nearest")
    assert unknown == int((labels != 1).sum())
    assert set(np.unique(labels)) == {0, 1, 6}
    labels, _ = labels_of_colours(mask, colours, name="b", unknown="ignore", ignored=255)
    assert set(np.unique(labels)) == {1, 255}


def test_vaihingen_is_cut_counted_and_hashed(published: Path, tmp_path: Path) -> None:
    job = PreparationConfig("vaihingen", **SMALL)
    summary = prepare(job, published, tmp_path / "out", workers=1)
    train, val = summary["splits"]["train"], summary["splits"]["val"]
    assert (train["images"], train["tiles"]) == (16, 64)
    assert (val["images"], val["tiles"]) == (17, 68)
    assert sum(train["pixels"].values()) == 64 * 32 * 32
    assert {label for label, count in train["pixels"].items() if count} == {"0", "1", "6"}
    for folder in ("img_dir", "ann_dir"):
        names = sorted(path.name for path in (tmp_path / "out" / folder / "train").iterdir())
        assert len(names) == 64
        assert names[0] == "area11_0_0_32_32.png"
    with Image.open(tmp_path / "out/img_dir/train/area1_18_8_50_40.png") as tile:
        assert np.array_equal(np.array(tile), noise(0)[8:40, 18:50])
    with Image.open(tmp_path / "out/ann_dir/train/area1_18_8_50_40.png") as tile:
        assert tile.mode == "L"
    again = prepare(job, published, tmp_path / "again", workers=2)
    assert again == summary
    full = prepare(
        PreparationConfig("vaihingen", labels="full", ignore=("clutter",), **SMALL),
        published,
        tmp_path / "full",
        workers=1,
    )
    assert full["splits"]["train"]["sha256"] != train["sha256"]
    assert full["splits"]["train"]["pixels"]["6"] == 0
    assert full["splits"]["train"]["pixels"]["0"] > 0
    lines = [*report(job, summary)]
    assert any(f"{train['sha256']}" in line for line in lines)
    assert any(line.split()[:3:2] == ["1", f"{train['pixels']['1']:,}"] for line in lines)


def test_a_second_call_makes_what_is_missing_or_damaged(published: Path, tmp_path: Path) -> None:
    job = PreparationConfig("vaihingen", **SMALL)
    summary = prepare(job, published, tmp_path, workers=1)
    tiles = sorted((tmp_path / "img_dir/train").iterdir())
    gone, changed, kept = tiles[0], tiles[10], tiles[-1]
    content, kept_at = gone.read_bytes(), kept.stat().st_mtime_ns
    gone.unlink()
    write_image(changed, np.zeros((32, 32, 3), np.uint8))
    journal = tmp_path / "finished.jsonl"
    journal.write_text(journal.read_text() + '{"image": "val/')  # killed while writing
    assert prepare(job, published, tmp_path, workers=1) == summary
    assert gone.read_bytes() == content
    with Image.open(changed) as tile:
        assert np.array(tile).any()
    assert kept.stat().st_mtime_ns == kept_at
    assert json.loads((tmp_path / "data.json").read_text()) == json.loads(json.dumps(summary))
    with pytest.raises(ValueError, match="was made with other options"):
        prepare(PreparationConfig("vaihingen", size=16, stride=16), published, tmp_path, workers=1)


def test_only_an_empty_folder_is_filled(published: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="is not empty and not from here"):
        prepare(PreparationConfig("vaihingen"), published, tmp_path, workers=1)


def test_what_is_missing_is_named(published: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no files"):
        find_pairs("vaihingen", tmp_path)
    save(tmp_path / "top/top_mosaic_09cm_area1.tif", noise(0))
    with pytest.raises(FileNotFoundError, match="32 of 33 images of vaihingen are missing: 10 11"):
        find_pairs("vaihingen", tmp_path)
    rest = [area for area in usual_division("vaihingen") if area != "1"]
    with pytest.raises(FileNotFoundError, match=r"1 of 1 images have no mask \(eroded ones\)"):
        find_pairs("vaihingen", tmp_path, without=rest)
    with pytest.raises(FileNotFoundError, match="no image of isaid among"):
        find_pairs("isaid", published)
    save(tmp_path / "copy/top/top_mosaic_09cm_area1.tif", noise(0))
    with pytest.raises(ValueError, match="are the same image: take one away"):
        find_pairs("vaihingen", tmp_path)


def test_sizes_must_agree(published: Path, tmp_path: Path) -> None:
    areas = [area for area in usual_division("vaihingen") if area != "2"]
    save(tmp_path / "raw/top/top_mosaic_09cm_area2.tif", noise(0))
    save(tmp_path / "raw/eroded/top_mosaic_09cm_area2_noBoundary.tif", coloured(RED)[:, :30])
    job = PreparationConfig("vaihingen", without=tuple(areas))
    with pytest.raises(ValueError, match=r"area2\.tif is \(40, 50\), .*\(40, 30\): sizes must"):
        prepare(job, tmp_path / "raw", tmp_path / "out", workers=1)
    assert not (tmp_path / "out/data.json").exists()


def test_four_bands_of_potsdam_become_geotiff(tmp_path: Path) -> None:
    areas = [area for area in usual_division("potsdam") if area != "2_10"]
    pixels = noise(0, bands=4)
    write_image(tmp_path / "raw/4_Ortho_RGBIR/top_potsdam_2_10_RGBIR.tif", pixels)
    save(tmp_path / "raw/labels/top_potsdam_2_10_label_noBoundary.tif", coloured(BLUE))
    job = PreparationConfig("potsdam", composite="RGBIR", without=tuple(areas), **SMALL)
    prepare(job, tmp_path / "raw", tmp_path / "out", workers=1)
    values, _ = read_raster(tmp_path / "out/img_dir/train/2_10_0_0_32_32.tif")
    assert np.array_equal(values, pixels[:32, :32].transpose(2, 0, 1))
    assert len(list((tmp_path / "out/ann_dir/train").glob("*.png"))) == 4


def test_loveda_keeps_its_images_and_checks_its_labels(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    labels = np.resize(np.arange(8, dtype=np.uint8), (40, 50))
    for number, (split, place) in enumerate(
        (split, place) for split in ("Train", "Val", "Test") for place in ("Rural", "Urban")
    ):
        save(raw / f"{split}/{place}/images_png/{number}.png", noise(number))
        if split != "Test":
            save(raw / f"{split}/{place}/masks_png/{number}.png", labels)
    job = PreparationConfig("loveda")
    summary = prepare(job, raw, tmp_path / "out", workers=1)
    assert {s: found["tiles"] for s, found in summary["splits"].items()} == {
        "train": 2,
        "val": 2,
        "test": 2,
    }
    assert not (tmp_path / "out/ann_dir/test").exists()
    with Image.open(tmp_path / "out/ann_dir/val/3.png") as mask:
        assert np.array_equal(np.array(mask), labels)
    lines = [*report(job, summary)]
    assert "(published: 2522: not the same data)" in lines[0]
    save(raw / "Val/Urban/masks_png/3.png", labels + 4)
    with pytest.raises(ValueError, match=r"3\.png holds label (8|9|10|11) .* 0 to 7"):
        prepare(job, raw, tmp_path / "other", workers=1)


@pytest.mark.parametrize(("kind", "value"), [(np.uint16, 257), (np.uint8, 255)])
def test_labels_that_are_none_are_named_before_they_are_cast(
    tmp_path: Path, kind: type, value: int
) -> None:
    save(tmp_path / "raw/Train/Rural/images_png/1.png", noise(0))
    save(tmp_path / "raw/Train/Rural/masks_png/1.png", np.full((40, 50), value, kind))
    with pytest.raises(ValueError, match=rf"1\.png holds label {value} \(2000 pixels .* 0 to 7"):
        prepare(PreparationConfig("loveda"), tmp_path / "raw", tmp_path / "out", workers=1)


def test_wide_masks_are_stored_in_bytes_and_absent_classes_told(tmp_path: Path) -> None:
    labels = np.full((40, 50), 3, np.uint16)
    save(tmp_path / "raw/Train/Rural/images_png/1.png", noise(0))
    save(tmp_path / "raw/Train/Rural/masks_png/1.png", labels)
    job = PreparationConfig("loveda")
    summary = prepare(job, tmp_path / "raw", tmp_path / "out", workers=1)
    with Image.open(tmp_path / "out/ann_dir/train/1.png") as mask:
        assert mask.mode == "L"
        assert np.array_equal(np.array(mask), labels)
    expected = "train has no pixel of background, building, water, barren, forest, agricultural"
    assert [*report(job, summary)][-1] == expected


def test_images_of_more_than_8_bits_are_named(tmp_path: Path) -> None:
    save(tmp_path / "raw/Train/Rural/images_png/1.png", np.full((40, 50), 4000, np.uint16))
    save(tmp_path / "raw/Train/Rural/masks_png/1.png", np.zeros((40, 50), np.uint8))
    with pytest.raises(ValueError, match=r"1\.png has 1 band of \w+: convert it to 8 bits"):
        prepare(PreparationConfig("loveda"), tmp_path / "raw", tmp_path / "out", workers=1)


def test_colours_of_a_large_mask_are_looked_up_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    colours = {(0, 0, 0): 0, (0, 0, 63): 1}
    mask = np.zeros((37, 11, 3), np.uint8)
    mask[5:, 3:, 2] = 63
    mask[30, :2] = 9
    whole = labels_of_colours(mask, colours, name="m", unknown="ignore")
    monkeypatch.setattr("benchmarks.segmentation.colours._BLOCK", 40)
    parts = labels_of_colours(mask, colours, name="m", unknown="ignore")
    assert np.array_equal(whole[0], parts[0])
    assert whole[1] == parts[1] == 2
    with pytest.raises(ValueError, match=r"m: 2 pixels of 1 colours .* \(9, 9, 9\) \(2 pixels\)"):
        labels_of_colours(mask, colours, name="m")


def test_isaid_is_padded_with_ignored_pixels(tmp_path: Path) -> None:
    ship = (0, 0, 63)
    for split, name in (("train", "P0000"), ("val", "P0003")):
        save(tmp_path / f"raw/{split}/images/part1/{name}.png", noise(0))
        masks = tmp_path / f"raw/{split}/Semantic_masks/images"
        save(masks / f"{name}_instance_color_RGB.png", coloured((0, 0, 0), ship))
        save(masks.with_name("other") / f"{name}_instance_id_RGB.png", coloured(ship))
    summary = prepare(PreparationConfig("isaid"), tmp_path / "raw", tmp_path / "out", workers=1)
    pixels = {k: v for k, v in summary["splits"]["val"]["pixels"].items() if v}
    assert pixels == {"0": 1000, "1": 1000, "255": 896 * 896 - 2000}
    name = "P0003_0_896_0_896"
    assert (tmp_path / f"out/img_dir/val/{name}.png").is_file()
    assert (tmp_path / f"out/ann_dir/val/{name}_instance_color_RGB.png").is_file()


def test_options_must_fit() -> None:
    with pytest.raises(ValueError, match="potsdam has no class roof: it has impervious_surface"):
        PreparationConfig("potsdam", ignore=("roof",))
    with pytest.raises(ValueError, match="not cut: leave out size"):
        PreparationConfig("loveda", size=512)
    with pytest.raises(ValueError, match="one kind of masks"):
        PreparationConfig("isaid", labels="full")
    with pytest.raises(ValueError, match="one kind of images"):
        PreparationConfig("vaihingen", composite="RGBIR")


def test_the_command_answers_in_one_line(root: Path, tmp_path: Path) -> None:
    command = runpy.run_path(str(root / "tools/prepare_segmentation.py"))["main"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as error:
        command(["isaid", str(tmp_path / "empty"), str(tmp_path / "out")])
    expected = f"error: {tmp_path}/empty holds no files: unpack the published"
    assert str(error.value).startswith(expected)
