"""Files reach the disk whole or not at all."""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from safetensors.torch import save_file

from cmid.callbacks.checkpoint import AtomicCheckpointIO
from cmid.data.writing import write_image
from cmid.export import to_timm
from cmid.files import NoRoomError, new_folder, scratch_folder, whole_file, write_text
from cmid.models import MaskedEncoder
from cmid.visualization.saving import save_figure

NOISE = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)


@pytest.fixture
def little_room() -> Iterator[None]:
    """No file may grow beyond 50 kB: the system's answer is that of a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def save_tensors(path: Path) -> None:
    with whole_file(path) as partial:
        save_file({"x": torch.rand(100_000)}, partial)


def save_picture(path: Path) -> None:
    figure = Figure()
    figure.subplots().imshow(NOISE)
    save_figure(figure, path, dpi=300)


def save_in_folder(path: Path) -> None:
    with new_folder(path) as folder:
        (folder / "data.bin").write_bytes(bytes(100_000))


WRITERS: dict[str, Callable[[Path], object]] = {
    "x.ckpt": lambda path: AtomicCheckpointIO().save_checkpoint({"x": torch.rand(100_000)}, path),
    "x.safetensors": save_tensors,
    "x.json": lambda path: write_text(path, "x" * 100_000),
    "x.png": lambda path: write_image(path, NOISE),
    "figure.png": save_picture,
    "tiles": save_in_folder,
    "backbone": lambda path: to_timm(MaskedEncoder("resnet18", img_size=32), path),
}


@pytest.mark.usefixtures("little_room")
@pytest.mark.parametrize("name", WRITERS)
def test_full_disk_is_one_line_that_names_the_file_and_leaves_nothing(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(NoRoomError, match=r"no room for .*free in") as raised:
        WRITERS[name](tmp_path / name)
    assert str(tmp_path / name) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("little_room")
def test_full_disk_says_what_a_checkpoint_needs_and_keeps_the_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    AtomicCheckpointIO().save_checkpoint({"x": 1}, path)
    with pytest.raises(NoRoomError, match=r"needs about 4\.0 MB"):
        AtomicCheckpointIO().save_checkpoint({"x": torch.zeros(1_000_000)}, path)
    assert torch.load(path, weights_only=True) == {"x": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", WRITERS)
def test_nothing_passes_through_the_folder_for_temporary_files(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "absent"))
    WRITERS[name](tmp_path / name)
    assert os.listdir(tmp_path) == [name]


def test_what_is_written_appears_at_the_end_and_an_error_keeps_the_earlier_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "new/x.txt"
    with whole_file(path) as partial:
        partial.write_text("first")
        assert not path.exists()
        assert partial.parent == path.parent
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half \ud800")
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]


def test_scratch_folder_is_gone_after_an_error(tmp_path: Path) -> None:
    def fail() -> None:
        with scratch_folder(tmp_path / "x") as scratch:
            (scratch / "file").touch()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []
