"""Captioned images in tar shards."""

from __future__ import annotations

import io
import logging
import pickle
import tarfile
from pathlib import Path

import pytest
from PIL import Image as PillowImage

from cmid.data.source import UnreadableImageError
from cmid.vision_language.data import CaptionShards


def picture(value: int) -> bytes:
    buffer = io.BytesIO()
    PillowImage.new("RGB", (40, 40), (value, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def write_shard(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two shards with the keys of RS5M, and some samples that lack something."""
    for shard in range(2):
        members = []
        for i in range(3):
            number = 3 * shard + i
            members += [
                (f"{number:06}.img_content", picture(number)),
                (f"{number:06}.img_name", f"image_{number}".encode()),
                (f"{number:06}.caption", f" the number {number}: fünf \n".encode()),
            ]
        members += [("90.img_content", picture(9)), ("91.caption", b"no image")]
        write_shard(tmp_path / f"pub-{shard}.tar", members)
    return tmp_path


def test_keys_of_rs5m(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        source = CaptionShards(f"{folder}/pub-{{0..1}}.tar")
    assert len(source) == 6
    assert source.left_out == 4
    assert "4 samples without an image and a text left out" in caplog.text
    for number in range(6):
        item = pickle.loads(pickle.dumps(source))[number]
        assert item.captions == source.captions(number) == (f"the number {number}: fünf",)
        assert item.image.pixels[0, 0, 0] == number
    assert item.image.name.endswith("pub-1.tar:000005")


def test_keys_are_configurable(folder: Path, tmp_path: Path) -> None:
    path = write_shard(tmp_path / "x.tar", [("a.rgb.png", picture(7)), ("a.en.txt", b"seven")])
    source = CaptionShards(path, image_keys=["rgb.png"], text_keys=["en.txt"])
    assert source[0].captions == ("seven",)
    with pytest.raises(ValueError, match="and one of caption, txt: name yours with image_keys"):
        CaptionShards(path)


def test_empty_captions_are_unreadable(tmp_path: Path) -> None:
    path = write_shard(
        tmp_path / "x.tar",
        [("a.png", picture(1)), ("a.txt", b" \n"), ("b.png", picture(1)), ("b.txt", b"\xff\xfe")],
    )
    source = CaptionShards(path)
    for index, name in enumerate("ab"):
        with pytest.raises(UnreadableImageError, match=rf"x\.tar:{name}: its text is empty or not"):
            source[index]
