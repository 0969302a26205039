"""A wheel of the project brings every command, with the configuration that it uses by default."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from cmid.__main__ import _VERBS

ROOT = Path(__file__).resolve().parents[1]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of a wheel that is built from a copy of the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"
    for name in ("cmid", "benchmarks", "configs"):
        shutil.copytree(
            ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
        )
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*build, "--wheel-dir", str(folder), str(sources)], check=True)
    (wheel,) = folder.glob("*.whl")
    shutil.rmtree(sources)
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


@pytest.fixture
def cmid(installed: Path, tmp_path: Path) -> Run:
    """The program of the wheel, run where there is no checkout."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cmid", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )

    return run


def test_help_lists_every_command_of_the_tools(cmid: Run, installed: Path) -> None:
    done = cmid("--help")
    assert done.returncode == 0, done.stderr
    assert set(_VERBS) == {path.stem for path in (ROOT / "tools").glob("*.py")}
    for verb, (room, _) in _VERBS.items():
        assert f"  {verb} " in done.stdout
        assert (installed / room / "commands" / f"{verb}.py").is_file()
    (entry,) = installed.glob("*.dist-info/entry_points.txt")
    assert "cmid = cmid.__main__:main" in entry.read_text()


def test_pretraining_finds_its_default_configuration(cmid: Run, installed: Path) -> None:
    done = cmid("pretrain", "--print_config")
    assert done.returncode == 0, done.stderr[-2000:]
    default = (ROOT / "configs/pretrain/cmid_resnet18_scenes.yaml").read_text(encoding="utf-8")
    printed, expected = yaml.safe_load(done.stdout), yaml.safe_load(default)
    assert printed["model"]["backbone_args"] == expected["model"]["backbone_args"]
    assert printed["trainer"]["max_epochs"] == expected["trainer"]["max_epochs"]
    told = cmid("pretrain", "--help").stdout
    assert told.startswith("usage: cmid pretrain ")
    assert default in told


def test_configurations_of_the_project_are_found_by_their_names(cmid: Run) -> None:
    other = "configs/pretrain/cmid_vit_base_millionaid.yaml"
    done = cmid("pretrain", "--config", other, "--print_config")
    assert "vit_base" in done.stdout, done.stderr[-2000:]
    missing = cmid("pretrain", "--config", "configs/pretrain/none.yaml", "--print_config")
    assert missing.returncode != 0
    assert "none.yaml" in missing.stderr


def test_an_unknown_verb_or_an_old_spelling_is_one_line(cmid: Run) -> None:
    for arguments, said in (
        (["pretran"], "error: argument VERB: invalid choice: 'pretran'"),
        (["compute_stats", "d", "--on-error", "skip"], "--on-error is spelled --on_error"),
        ([], "error: "),
    ):
        done = cmid(*arguments)
        assert done.returncode == 2
        assert said in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_the_benchmark_trains_tests_and_reports(cmid: Run, tmp_path: Path) -> None:
    pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")
    options = ["train_cfg.max_epochs=1", "param_scheduler=[]", "train_dataloader.batch_size=16"]
    for part in ("train", "val", "test"):
        loader = f"{part}_dataloader"
        options += [f"{loader}.dataset.num_scenes=40", f"{loader}.num_workers=0"]
        options += [f"{loader}.persistent_workers=False"]
    suite = ["--suite", "scenes", "--tasks", "classification", "--out", "report"]
    done = cmid("benchmark", "--backbone", "random:resnet18", *suite, "--cfg_options", *options)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "| classification | top-1 accuracy |" in done.stdout
    assert "cmid benchmark --backbone" in (tmp_path / "report/report.md").read_text()
