from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PillowImage

pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")

from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS

import benchmarks.change_detection  # noqa: F401

LOADING = [{"type": "LoadPair"}, {"type": "LoadChangeLabel"}]


@pytest.fixture(autouse=True)
def _scope() -> None:
    init_default_scope("mmseg")


def save(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(pixels).save(path)


def add_pair(root: Path, name: str, label: NDArray[np.uint8], *, value: int = 5) -> None:
    pixels = np.full((*label.shape[:2], 3), value, dtype=np.uint8)
    save(root / "A" / f"{name}.png", pixels)
    save(root / "B" / f"{name}.png", pixels + 1)
    save(root / "label" / f"{name}.png", label)


def labelled(*values: int) -> NDArray[np.uint8]:
    return np.array([values, values[::-1]], dtype=np.uint8)


def dataset(root: Path, **more: Any) -> Any:
    settings = {"type": "ChangePairs", "data_root": str(root), "pipeline": LOADING}
    return DATASETS.build({**settings, **more})


@pytest.mark.parametrize("stored", [(0, 1, 1), (0, 255, 255)])
def test_labels_of_both_codes_are_read(tmp_path: Path, stored: tuple[int, ...]) -> None:
    add_pair(tmp_path, "one", labelled(*stored))
    data = dataset(tmp_path)
    assert data.metainfo["classes"] == ("unchanged", "changed")
    sample = data[0]
    np.testing.assert_array_equal(sample["gt_seg_map"], [[0, 1, 1], [1, 1, 0]])
    assert sample["img"].shape == (2, 3, 6)
    assert sample["img"][0, 0].tolist() == [5, 5, 5, 6, 6, 6]
    assert sample["ori_shape"] == (2, 3)


def test_pairs_match_by_name_whatever_the_ending(tmp_path: Path) -> None:
    for number, name in enumerate(("z.1", "city/a", "b")):
        add_pair(tmp_path, name, labelled(0, 1), value=10 * number)
    (tmp_path / "B" / "b.png").rename(tmp_path / "B" / "b.PNG")
    PillowImage.open(tmp_path / "label" / "b.png").save(tmp_path / "label" / "b.bmp")
    (tmp_path / "label" / "b.png").unlink()
    data = dataset(tmp_path)
    assert [int(data[i]["img"][0, 0, 0]) for i in range(3)] == [20, 10, 0]
    assert len(dataset(tmp_path, indices=2)) == 2


def test_a_list_chooses_pairs_and_their_order(tmp_path: Path) -> None:
    for name in ("a", "b.v2", "c"):
        add_pair(tmp_path, name, labelled(0, 1))
    (tmp_path / "train.txt").write_text("c.png\n\nb.v2\n")
    data = dataset(tmp_path, ann_file="train.txt")
    assert [Path(data[i]["img_path"]).stem for i in range(len(data))] == ["c", "b.v2"]
    (tmp_path / "train.txt").write_text("c\nd\n")
    with pytest.raises(FileNotFoundError, match=r"A lacks 1 of 2 names, first d"):
        dataset(tmp_path, ann_file="train.txt")
    (tmp_path / "train.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"train\.txt names no pair"):
        dataset(tmp_path, ann_file="train.txt")
    with pytest.raises(FileNotFoundError, match=r"no list .*val\.txt"):
        dataset(tmp_path, ann_file="val.txt")


def test_files_without_a_partner_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*A: check the one above it"):
        dataset(tmp_path)
    for name in ("a", "b"):
        add_pair(tmp_path, name, labelled(0, 1))
    (tmp_path / "label" / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match="label lacks 1 of 2 names, first b"):
        dataset(tmp_path)
    (tmp_path / "A" / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match="A lacks 1 of 2 names, first b"):
        dataset(tmp_path)
    (tmp_path / "B" / "b.png").unlink()
    save(tmp_path / "A" / "a.bmp", np.zeros((2, 2), dtype=np.uint8))
    with pytest.raises(ValueError, match="have one name"):
        dataset(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no folder .*t1"):
        dataset(tmp_path, folders=("t1", "t2", "mask"))


@pytest.mark.parametrize(
    ("values", "fault"), [((0, 7, 255), "value 7"), ((0, 1, 255), "both 1 and 255")]
)
def test_other_labels_are_refused(tmp_path: Path, values: tuple[int, ...], fault: str) -> None:
    add_pair(tmp_path, "one", labelled(*values))
    with pytest.raises(ValueError, match=rf"one\.png holds {fault} .*label_threshold=128"):
        dataset(tmp_path)[0]


def test_a_threshold_reads_labels_of_jpeg(tmp_path: Path) -> None:
    add_pair(tmp_path, "one", labelled(3, 127, 128, 250))
    sample = dataset(tmp_path, label_threshold=128)[0]
    np.testing.assert_array_equal(sample["gt_seg_map"], [[0, 0, 1, 1], [1, 1, 0, 0]])


def test_labels_of_three_equal_channels_pass_and_colours_do_not(tmp_path: Path) -> None:
    label = np.repeat(labelled(0, 255)[..., None], 3, axis=-1)
    add_pair(tmp_path, "one", label)
    np.testing.assert_array_equal(dataset(tmp_path)[0]["gt_seg_map"], [[0, 1], [1, 0]])
    label[0, 0] = (255, 0, 0)
    add_pair(tmp_path, "one", label)
    with pytest.raises(ValueError, match=r"one\.png holds colours"):
        dataset(tmp_path)[0]


def test_fractions_and_reversed_palettes_are_not_taken_for_changes(tmp_path: Path) -> None:
    add_pair(tmp_path, "one", labelled(0, 255))
    path = tmp_path / "label" / "one.png"
    path.unlink()
    PillowImage.fromarray(np.full((2, 2), 0.5, np.float32)).save(path.with_suffix(".tif"))
    with pytest.raises(ValueError, match=r"one\.tif holds float32 values such as 0\.5"):
        dataset(tmp_path)[0]
    path.with_suffix(".tif").unlink()
    picture = PillowImage.fromarray(labelled(0, 1), mode="P")
    picture.putpalette([255, 255, 255, 0, 0, 0])  # index 0 is white
    picture.save(path)
    np.testing.assert_array_equal(dataset(tmp_path)[0]["gt_seg_map"], [[1, 0], [0, 1]])


def test_sizes_must_agree(tmp_path: Path) -> None:
    add_pair(tmp_path, "one", labelled(0, 1))
    save(tmp_path / "label" / "one.png", labelled(0, 1, 0))
    with pytest.raises(
        ValueError, match=r"label/one\.png is 2 x 3, its pair .*A/one\.png is 2 x 2"
    ):
        dataset(tmp_path)[0]
    save(tmp_path / "B" / "one.png", np.zeros((4, 2, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"A/one\.png is 2 x 2 .*B/one\.png is 4 x 2 "):
        dataset(tmp_path)[0]


def marked(root: Path, changed: NDArray[np.uint8], unchanged: NDArray[np.uint8]) -> Any:
    rasterio = pytest.importorskip("rasterio")
    height, width = changed.shape
    for number, name in enumerate(("one.tif", "two.tif")):
        form = {"height": height, "width": width, "count": 6, "dtype": "uint8"}
        with rasterio.open(root / name, "w", driver="GTiff", nodata=0, **form) as file:
            pixels = np.full((6, height, width), number + 1, dtype=np.uint8)
            pixels[:, -1, -1] = 0
            file.write(pixels)
    save(root / "changed.bmp", changed)
    save(root / "unchanged.bmp", unchanged)
    return DATASETS.build(
        {
            "type": "MarkedPair",
            "data_root": str(root),
            **{"img_path": "one.tif", "img_path2": "two.tif"},
            **{"changed_path": "changed.bmp", "unchanged_path": "unchanged.bmp"},
            "pipeline": [
                {"type": "LoadPair", "loader": {"type": "LoadRaster", "bands": [1, 2, 4, 6]}},
                {"type": "LoadMarkedPixels"},
            ],
        }
    )


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_marked_pixels_are_labelled_and_all_others_ignored(tmp_path: Path) -> None:
    changed, unchanged = labelled(255, 0, 0, 0), labelled(0, 255, 255, 0)
    sample = marked(tmp_path, changed, unchanged)[0]
    # The last pixel has no data, so that its mark does not count.
    np.testing.assert_array_equal(sample["gt_seg_map"], [[1, 0, 0, 255], [255, 0, 0, 255]])
    assert sample["img"].shape == (2, 4, 8)
    assert sample["img"][0, 0].tolist() == [1] * 4 + [2] * 4
    with pytest.raises(ValueError, match=r"both mark 2 pixels"):
        marked(tmp_path, unchanged, labelled(0, 255, 0, 0))[0]
    with pytest.raises(ValueError, match=r"unchanged\.bmp is 2 x 2, its pair"):
        marked(tmp_path, changed, labelled(0, 0))[0]
    (tmp_path / "two.tif").unlink()
    with pytest.raises(FileNotFoundError, match=r"no .*two\.tif"):
        DATASETS.build(
            {
                "type": "MarkedPair",
                "data_root": str(tmp_path),
                **{"img_path": "one.tif", "img_path2": "two.tif"},
                **{"changed_path": "changed.bmp", "unchanged_path": "unchanged.bmp"},
            }
        )
