from __future__ import annotations

import logging
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from PIL import Image as PillowImage

from cmid.data import ImageFolder, open_source
from cmid.data.listing import find_files


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.new("RGB", (4, 4)).save(path)
    return path


def test_folders_that_link_to_each_other_are_read_once_a_way_in(tmp_path: Path) -> None:
    for name in "ab":
        write(tmp_path / name / "1.png")
    (tmp_path / "a/to_b").symlink_to("../b")
    (tmp_path / "b/to_a").symlink_to("../a")
    assert find_files(tmp_path, [".png"]) == ["a/1.png", "a/to_b/1.png", "b/1.png", "b/to_a/1.png"]
    assert ImageFolder(tmp_path).classes == ("a", "b")


def test_many_folders_that_all_link_to_each_other_come_to_an_end(tmp_path: Path) -> None:
    names = [f"c{i:02}" for i in range(12)]
    for name in names:
        write(tmp_path / name / "x.png")
        for other in names:
            if other != name:
                (tmp_path / name / f"to_{other}").symlink_to(f"../{other}")
    found = find_files(tmp_path, [".png"])
    assert {f"{name}/x.png" for name in names} <= set(found)
    # Each folder by itself, by one link from each other, and the first way through two links.
    assert len(found) <= 12 + 12 * 11 + 12


@pytest.mark.parametrize("target", [".", "..", "../a", "self"])
def test_links_upwards_and_to_themselves_bring_nothing_new(tmp_path: Path, target: str) -> None:
    root = tmp_path / "root"
    write(root / "a/1.png")
    (root / "a/self").symlink_to(target)
    assert find_files(root, [".png"]) == ["a/1.png"]


def test_one_folder_behind_two_classes_counts_in_both(tmp_path: Path) -> None:
    write(tmp_path / "store/water/1.png")
    root = tmp_path / "root"
    root.mkdir()
    for name in ("lake", "sea"):
        (root / name).symlink_to(tmp_path / "store/water")
    source = ImageFolder(root)
    assert source.classes == ("lake", "sea")
    assert [source[i].label for i in range(2)] == [0, 1]


def test_broken_links_and_pipes_are_counted_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "a.png")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "gone_folder").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.png")  # reading it would wait for ever
    with caplog.at_level(logging.WARNING):
        assert len(ImageFolder(tmp_path)) == 1
    assert "2 broken links left out (first: " in caplog.text
    assert "1 devices or pipes left out (first: " in caplog.text
    assert "pipe.png" in caplog.text


def test_closed_folders_are_counted_and_named(caplog: pytest.LogCaptureFixture) -> None:
    folder = Path(tempfile.mkdtemp())  # tmp_path is closed to other users from above
    user = os.geteuid()
    try:
        write(folder / "open/1.png")
        write(folder / "closed/2.png")
        folder.chmod(0o755)
        (folder / "closed").chmod(0)
        if user == 0:
            os.seteuid(65534)  # root may read everything
        with caplog.at_level(logging.WARNING):
            assert find_files(folder, [".png"]) == ["open/1.png"]
        assert "1 folders that cannot be read (permission denied) left out" in caplog.text
        assert str(folder / "closed") in caplog.text
        with pytest.raises(PermissionError, match="closed"):
            find_files(folder / "closed", [".png"])
    finally:
        os.seteuid(user)
        (folder / "closed").chmod(0o755)
        shutil.rmtree(folder)


def test_rasters_behind_links_in_a_circle_are_found(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    for name in "ab":
        path = tmp_path / name / "1.tif"
        path.parent.mkdir()
        shape = {"height": 8, "width": 8, "count": 1, "dtype": "uint8"}
        with rasterio.open(path, "w", driver="GTiff", **shape):
            pass
    (tmp_path / "a/to_b").symlink_to("../b")
    (tmp_path / "b/to_a").symlink_to("../a")
    assert len(open_source(tmp_path, window=8)) == 4
