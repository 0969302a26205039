"""A run knows its own folder, and takes nobody else's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cmid.callbacks.checkpoint import resolve_checkpoint
from cmid.claimed_folder import ClaimedFolder, FolderInUseError
from cmid.run_folder import (
    family_of,
    folder_to_go_on_in,
    identity,
    new_run_folder,
    newest_checkpoints,
)

ROOT = Path(__file__).resolve().parents[1]
HOLD = """
import sys
from pathlib import Path
from cmid.run_folder import new_run_folder
folder = new_run_folder(Path(sys.argv[1]))
print(folder.path, flush=True)
sys.stdin.read()
"""


def checkpoint(run_dir: Path, step: int, *, written: int | None = None) -> Path:
    path = run_dir / "checkpoints" / f"step-{step:08d}.ckpt"
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": {}}, path)
    if written is not None:
        os.utime(path, (written, written))
    return path


def started(run_dir: Path, *steps: int) -> Path:
    """A run folder as a command makes it."""
    with new_run_folder(run_dir) as folder:
        (folder.path / "checkpoints").mkdir(exist_ok=True)
        for step in steps:
            checkpoint(folder.path, step)
        return folder.path


def earlier_version(run_dir: Path, asked: str, *steps: int) -> None:
    """A run folder as commands made it before they wrote ``run.json``."""
    log = run_dir / "csv/version_0"
    log.mkdir(parents=True)
    (log / "config.yaml").write_text(f"run_dir: {asked}\n")
    for step in steps:
        checkpoint(run_dir, step)


@pytest.mark.parametrize("name", ["exp-50ep", "exp-2024", "exp-2", "exp-2-long", "exp2", "ex"])
def test_last_leaves_folders_alone_that_a_user_named(name: str, tmp_path: Path) -> None:
    started(tmp_path / "exp", 10)
    started(tmp_path / name, 99)
    assert resolve_checkpoint("last", tmp_path / "exp").parent.parent.name == "exp"
    assert family_of(tmp_path / "exp") == [tmp_path / "exp"]
    assert resolve_checkpoint("last", tmp_path / name).name == "step-00000099.ckpt"


def test_last_takes_the_run_that_was_started_last(tmp_path: Path) -> None:
    names = [started(tmp_path / "exp", 10).name for _ in range(3)]
    assert names == ["exp", "exp-2", "exp-3"]
    shutil.copytree(tmp_path / "exp-3", tmp_path / "exp-7")  # a copy by hand is no further run
    assert resolve_checkpoint("last", tmp_path / "exp").parent.parent.name == "exp-3"
    shutil.rmtree(tmp_path / "exp-3")
    assert resolve_checkpoint("last", tmp_path / "exp").parent.parent.name == "exp-2"


def test_checkpoints_are_ordered_by_step_not_by_time(tmp_path: Path) -> None:
    for step, written in ((900, 3), (1000, 1), (99_999_999, 2), (100_000_000, 1)):
        checkpoint(tmp_path / "exp", step, written=written)
    steps = [int(path.stem.removeprefix("step-")) for path in newest_checkpoints(tmp_path / "exp")]
    assert steps == [100_000_000, 99_999_999, 1000, 900]


def test_moved_runs_keep_their_numbered_ones(tmp_path: Path) -> None:
    for _ in range(2):
        started(tmp_path / "here/exp", 1)
    shutil.move(tmp_path / "here", tmp_path / "there")
    last = resolve_checkpoint("last", tmp_path / "there/exp")
    assert last.parent.parent == tmp_path / "there/exp-2"
    # A run of the same name that is started anew is another experiment than exp-2.
    shutil.move(tmp_path / "there/exp", tmp_path / "there/old")
    started(tmp_path / "there/exp", 5)
    assert family_of(tmp_path / "there/exp") == [tmp_path / "there/exp"]
    assert family_of(tmp_path / "there/old") == [tmp_path / "there/old"]


def test_runs_of_earlier_versions_are_known_by_their_configuration(tmp_path: Path) -> None:
    earlier_version(tmp_path / "exp", "runs/exp", 1)
    earlier_version(tmp_path / "exp-2", "runs/exp", 2)
    earlier_version(tmp_path / "exp-3", "runs/exp-3", 3)
    checkpoint(tmp_path / "exp-4", 4)
    assert resolve_checkpoint("last", tmp_path / "exp").parent.parent.name == "exp-2"
    assert started(tmp_path / "exp", 5).name == "exp-5"
    assert resolve_checkpoint("last", tmp_path / "exp").parent.parent.name == "exp-5"


def test_numbered_folders_that_hold_something_else_are_not_used(tmp_path: Path) -> None:
    started(tmp_path / "exp", 1)
    (tmp_path / "exp-2").mkdir()
    (tmp_path / "exp-2/notes.txt").write_text("mine")
    (tmp_path / "exp-3").write_text("a file")
    with new_run_folder(tmp_path / "exp") as folder:
        assert folder.path.name == "exp-4"
    assert sorted(path.name for path in (tmp_path / "exp-2").iterdir()) == ["notes.txt"]


def test_damaged_checkpoint_is_not_replaced_by_one_of_another_experiment(tmp_path: Path) -> None:
    broken = checkpoint(started(tmp_path / "exp"), 10)
    broken.write_bytes(b"broken")
    started(tmp_path / "exp-50ep", 5)
    with pytest.raises(ValueError, match=r"step-00000010.*no older one"):
        resolve_checkpoint("last", tmp_path / "exp")
    with pytest.raises(FileNotFoundError, match="is a folder: give a file, or --run_dir"):
        resolve_checkpoint(str(tmp_path / "exp-50ep"), tmp_path / "exp")


@pytest.mark.parametrize("stated", [True, False])
def test_a_file_goes_on_in_its_own_run_folder_but_where_another_one_is_asked_for(
    stated: bool, tmp_path: Path
) -> None:
    own = checkpoint(started(tmp_path / "exp"), 10)
    second = checkpoint(started(tmp_path / "exp"), 3)
    downloaded = tmp_path / "downloads/checkpoints/step-00000010.ckpt"
    downloaded.parent.mkdir(parents=True)
    shutil.copy(own, downloaded)

    def goes_on(path: Path, run_dir: str) -> Path | None:
        return folder_to_go_on_in(path, tmp_path / run_dir, stated=stated)

    assert goes_on(own, "exp") == tmp_path / "exp"
    assert goes_on(second, "exp") == tmp_path / "exp-2"
    assert goes_on(own, "new") == (None if stated else tmp_path / "exp")
    assert goes_on(downloaded, "new") is None
    assert goes_on(downloaded, "downloads") == tmp_path / "downloads"
    (tmp_path / "link").symlink_to(tmp_path / "exp")
    assert goes_on(own, "link") == tmp_path / "link"


def test_second_start_at_the_same_time_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path / "exp")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        for _ in range(3)
    ]
    folders = sorted(Path(process.stdout.readline().strip()).name for process in running)  # type: ignore[union-attr]
    assert folders == ["exp", "exp-2", "exp-3"]
    # What a live process is writing stays, whoever else comes.
    part = tmp_path / "exp/checkpoints/.step-00000001.ckpt.1.part"
    part.parent.mkdir()
    part.touch()
    with pytest.raises(FolderInUseError, match=r"in use by process \d+ on .*give another"):
        ClaimedFolder(tmp_path / "exp")
    with new_run_folder(tmp_path / "exp") as fourth:
        assert fourth.path.name == "exp-4"
    assert part.exists()
    for process in running:
        process.kill()
        process.communicate()
    # Killed, they hold nothing any more, and the next start clears up.
    with new_run_folder(tmp_path / "exp") as again:
        assert again.path.name == "exp"
        assert not part.exists()


def test_start_removes_what_a_killed_process_was_writing(tmp_path: Path) -> None:
    run_dir = started(tmp_path / "exp", 1)
    left = [
        run_dir / "checkpoints/step-00000002.ckpt.part",
        run_dir / "checkpoints/.step-00000002.ckpt.123.part",
        run_dir / ".curves.png.123.part",
        run_dir / ".backbone.ab12.part/new/model.safetensors",
    ]
    others = tmp_path / "other/checkpoints/step-00000002.ckpt.part"
    for path in (*left, others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    ClaimedFolder(run_dir).release()
    assert sorted(p.name for p in run_dir.rglob("*")) == [
        "checkpoints",
        "run.json",
        "step-00000001.ckpt",
    ]
    assert others.exists()


def test_refused_start_leaves_no_folder(tmp_path: Path) -> None:
    with new_run_folder(tmp_path / "new/exp"):
        pass
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "exp").mkdir()
    with new_run_folder(tmp_path / "exp") as folder:
        assert identity(folder.path) is not None
    assert (tmp_path / "exp").is_dir()


def test_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for run_dir in (tmp_path / "file", tmp_path / "file/exp", Path("/proc/exp")):
        with pytest.raises(ValueError, match=r"run folder .* cannot be written to .*--run_dir"):
            new_run_folder(run_dir)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_read_only_folder_is_named(tmp_path: Path) -> None:
    run_dir = started(tmp_path / "exp", 1)
    for folder in (run_dir / "checkpoints", run_dir):
        folder.chmod(0o500)
        with pytest.raises(ValueError, match="Permission denied"):
            ClaimedFolder(run_dir)
        folder.chmod(0o700)
