import logging
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from cmid.data import ImageFolder, ImageList, UnreadableImageError, open_source


def write(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.new("RGB", (8, 6), (value, 2, 3)).save(path)
    return path


@pytest.fixture
def tree(tmp_path):
    """Two classes at different depths, every spelling of endings, and clutter."""
    for i, name in enumerate(
        ["b/deep/er/1.jpg", "a/2.JPEG", "a/3.PNG", "b/4.tiff", "b/5.TIF", "a/6 with space.webp"]
    ):
        write(tmp_path / name, value=i)
    write(tmp_path / "a/.hidden.png")
    write(tmp_path / ".thumbnails/a.png")
    (tmp_path / "a/notes.txt").write_text("clutter")
    (tmp_path / "Thumbs").touch()
    return tmp_path


def test_folder_is_sorted_and_labelled(tree, caplog):
    with caplog.at_level(logging.WARNING):
        source = ImageFolder(tree)
    names = [Path(source[i].name).relative_to(tree).as_posix() for i in range(len(source))]
    assert names == [
        "a/2.JPEG",
        "a/3.PNG",
        "a/6 with space.webp",
        "b/4.tiff",
        "b/5.TIF",
        "b/deep/er/1.jpg",
    ]
    assert [source[i].label for i in range(6)] == [0, 0, 0, 1, 1, 1]
    assert source.classes == ("a", "b")
    assert source.num_bands == 3
    assert len(caplog.records) == 1
    assert "2 other files left out" in caplog.text


def test_an_image_outside_of_sub_folders_means_no_labels(tree):
    write(tree / "top.png")
    source = ImageFolder(tree)
    assert len(source) == 7
    assert source.classes == ()
    assert source[0].label == -1
    with pytest.raises(ValueError, match=r"top\.png lies in no class folder"):
        ImageFolder(tree, labels="folders")


def test_labels_and_endings_can_be_set(tree):
    assert ImageFolder(tree, labels="none").classes == ()
    assert len(ImageFolder(tree, extensions=[".PNG"])) == 1


def test_missing_and_empty_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone does not exist"):
        ImageFolder(tmp_path / "gone")
    (tmp_path / "readme.md").touch()
    with pytest.raises(FileNotFoundError, match=r"holds no image ending in \.jpg, .*\.webp"):
        ImageFolder(tmp_path)


def test_links_are_followed_but_not_in_circles(tree):
    (tree / "a" / "again").symlink_to(tree, target_is_directory=True)
    elsewhere = tree.parent / f"{tree.name}-elsewhere"
    write(elsewhere / "x.png")
    (tree / "c").symlink_to(elsewhere, target_is_directory=True)
    source = ImageFolder(tree)
    assert len(source) == 7
    assert source.classes == ("a", "b", "c")


def test_unreadable_image_names_the_file(tree):
    (tree / "b" / "4.tiff").write_bytes(b"")
    with pytest.raises(UnreadableImageError, match=r"4\.tiff: file is empty"):
        ImageFolder(tree)[3]
    (tree / "b" / "4.tiff").unlink()


def test_large_folders_are_scanned_quickly_and_kept_compactly(tmp_path):
    count = 20_000
    for folder in range(10):
        (tmp_path / f"class{folder}").mkdir()
        for i in range(count // 10):
            (tmp_path / f"class{folder}" / f"image_{i:07}.jpg").touch()
    start = time.process_time()
    source = ImageFolder(tmp_path)
    assert time.process_time() - start < 2
    assert len(source) == count
    assert len(pickle.dumps(source)) < 60 * count
    assert len(pickle.loads(pickle.dumps(source))) == count


@pytest.mark.parametrize("separator", ["\t", " ", "   ", ",", ", "])
def test_text_list_with_labels(tmp_path, separator):
    paths = ["plain.jpg", "with space/my image.png", "odd.jpg names/x.webp", "comma, name.tif"]
    labels = ["forest", "dense residential", "forest", "beach"]
    for path in paths:
        write(tmp_path / path)
    rows = [f"{path}{separator}{label}" for path, label in zip(paths, labels, strict=True)]
    (tmp_path / "list.txt").write_text("\n".join(rows) + "\n\n")
    source = ImageList(tmp_path / "list.txt")
    assert source.classes == ("beach", "dense residential", "forest")
    assert [source[i].label for i in range(4)] == [2, 1, 2, 0]
    assert [source[i].name for i in range(4)] == [str(tmp_path / path) for path in paths]


def test_text_list_without_labels_and_with_root(tmp_path):
    paths = ["my images/a b.jpg", "x.JPG y.png", "no ending"]
    for path in paths[:2]:
        write(tmp_path / "images" / path)
    write(tmp_path / "x.png").rename(tmp_path / "images" / paths[2])
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "all.txt").write_text("\ufeff" + "\r\n".join(paths), encoding="utf-8")
    source = ImageList(lists / "all.txt", root=tmp_path / "images")
    assert len(source) == 3
    assert source.classes == ()
    assert [source[i].label for i in range(3)] == [-1, -1, -1]
    with pytest.raises(FileNotFoundError, match=r"first image .*a b\.jpg does not exist; set root"):
        ImageList(lists / "all.txt")


def test_absolute_paths_and_numbers(tmp_path):
    first, second = write(tmp_path / "1.png"), write(tmp_path / "2.png")
    (tmp_path / "list.txt").write_text(f"{first} 3\n{second} 0\n")
    source = ImageList(tmp_path / "list.txt", root="/somewhere/else")
    assert [source[i].label for i in range(2)] == [3, 0]
    assert source.classes == ("0", "1", "2", "3")


@pytest.mark.parametrize("column", ["path", "filepath", "image", "Path"])
@pytest.mark.parametrize("label", ["label", "class"])
def test_csv_list(tmp_path, column, label):
    write(tmp_path / "a, b.png"), write(tmp_path / "c.png")
    (tmp_path / "list.csv").write_text(f'{label},{column}\nwater,"a, b.png"\nforest,c.png\n')
    source = ImageList(tmp_path / "list.csv")
    assert source.classes == ("forest", "water")
    assert [source[i].label for i in range(2)] == [1, 0]
    assert source[0].name == str(tmp_path / "a, b.png")


def test_csv_without_labels_and_its_errors(tmp_path):
    write(tmp_path / "a.png")
    table = tmp_path / "list.csv"
    table.write_text("id,path\n1,a.png\n")
    assert ImageList(table).classes == ()
    table.write_text("id,where\n1,a.png\n")
    with pytest.raises(ValueError, match="names none of the columns path, filepath"):
        ImageList(table)
    table.write_text("path,label\na.png,x\n,y\n")
    with pytest.raises(ValueError, match="line 3 has no path"):
        ImageList(table)
    table.write_text("path,label\na.png,x\na.png,\n")
    with pytest.raises(ValueError, match="entry 2 has no label"):
        ImageList(table)


def test_missing_and_empty_list(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"list\.txt does not exist"):
        ImageList(tmp_path / "list.txt")
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(ValueError, match="names no image"):
        ImageList(tmp_path / "list.txt")


def test_sources_are_read_the_same_in_workers(tree):
    source = ImageFolder(tree)
    loader = torch.utils.data.DataLoader(source, batch_size=None, num_workers=2)
    for image, expected in zip(loader, (source[i] for i in range(len(source))), strict=True):
        assert torch.equal(image.pixels, expected.pixels)
        assert image.label == expected.label


def test_open_source_by_path(tree):
    assert isinstance(open_source(tree), ImageFolder)
    (tree / "list.txt").write_text("a/2.JPEG\n")
    assert isinstance(open_source(tree / "list.txt"), ImageList)
    assert len(open_source("scenes", num_images=5)) == 5
    with pytest.raises(FileNotFoundError, match="gone"):
        open_source(tree / "gone")
    with pytest.raises(ValueError, match=r"cannot open .*Thumbs: give a folder of images"):
        open_source(tree / "Thumbs")


def test_generator_has_no_effect(tree):
    source = ImageFolder(tree)
    image = source.read(0, generator=np.random.default_rng(1))
    assert torch.equal(image.pixels, source[0].pixels)
