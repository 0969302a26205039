"""How commands end: one line where the user can mend it, and options that exist where advised."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from tests.integration.in_process import ROOT, TINY, options, run

TOOLS = sorted((ROOT / "tools").glob("*.py"))
CONFIGURED = ("pretrain", "train_clip", "finetune")
MODULES = [
    "benchmarks.change_detection.tiling",
    "benchmarks.classification.colour_baseline",
    "benchmarks.baselines.compare",
    "benchmarks.baselines.measures",
    "benchmarks.speed.data_pipeline",
    "benchmarks.speed.memory",
    "benchmarks.speed.training_step",
]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{name}_tool", ROOT / f"tools/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("tool", TOOLS, ids=lambda path: path.stem)
def test_help_of_every_tool_is_light_and_tells_of_traceback(tool: Path) -> None:
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'lightning', 'mmengine'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    command = [sys.executable, "-c", code, str(tool), "--help"]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--traceback" in done.stdout


@pytest.mark.parametrize("name", MODULES)
def test_help_of_every_benchmark_tells_of_traceback(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "benchmarks.baselines.compare":
        pytest.importorskip("lightly", reason="extra dev is not installed")
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with contextlib.suppress(SystemExit):
        importlib.import_module(name).main()
    assert "--traceback" in capsys.readouterr().out


def test_no_command_catches_errors_beside_the_boundary() -> None:
    mains = [p for folder in ("tools", "benchmarks") for p in (ROOT / folder).rglob("*.py")]
    commands = [p for p in mains if '__name__ == "__main__"' in p.read_text()]
    assert len(commands) >= len(TOOLS) + len(MODULES)
    for path in commands:
        text = path.read_text()
        imported = re.search(r"^from (\S+) import main$", text, re.MULTILINE)
        if imported:  # a thin entrance
            text = (ROOT / f"{imported[1].replace('.', '/')}.py").read_text()
        assert re.search(r"@command\(|error_boundary\(|\blaunch\b", text), path
        assert "sys.exit(f" not in text, path


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        ("compute_stats", ["missing", "--out", "s.json"], "missing"),
        ("convert_regions", ["--coco", "missing.json", "--out", "out.json"], "missing.json"),
        ("evaluate", ["random:resnet18", "missing", "--accelerator", "cpu"], "missing"),
        ("export", ["missing.ckpt", "out"], "missing.ckpt"),
        ("prepare_detection", ["dior", "missing"], "missing"),
        ("prepare_segmentation", ["potsdam", "missing", "out"], "missing"),
        ("visualize", ["pca", "random:resnet18", "missing", "--out", "x.png"], "missing"),
    ],
)
def test_input_that_is_not_there_is_named_in_one_line_with_status_1(
    tool: str, arguments: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        load(tool).main(arguments)
    line = str(end.value.code)
    assert expected in line
    assert "\n" not in line
    with pytest.raises((OSError, ValueError)):
        load(tool).main([*arguments, "--traceback"])


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Eight images, one of them unreadable."""
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(8):
        Image.fromarray(rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    (folder / "3.png").write_bytes(b"xx")
    return folder


def pretraining(images: Path, run_dir: Path) -> list[str]:
    (images.parent / "empty.yaml").write_text("{}")
    fields = TINY | {
        "config": images.parent / "empty.yaml",
        "data.source.init_args.root": images,
        "run_dir": run_dir,
    }
    return options(fields)


def advised(line: str) -> list[str]:
    """The option that a line advises, as arguments."""
    found = re.search(r"with (--\S+ skip)", line)
    assert found is not None, line
    return found[1].split()


@pytest.mark.slow
def test_an_unreadable_image_ends_a_run_in_one_line_whose_advice_works(
    images: Path, tmp_path: Path
) -> None:
    command = ["tools/pretrain.py", *pretraining(images, tmp_path / "run"), "--data.num_workers=1"]
    done = run(*command)
    assert done.status == 1
    assert "Traceback" not in done.err
    (line,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert "3.png" in line
    assert run(*command, "--traceback").err.count("Traceback") >= 1
    mended = run(*command, *advised(line))
    assert mended.status == 0, mended.err[-2000:]
    assert "1 unreadable images skipped" in mended.out + mended.err


@pytest.mark.parametrize("form", ["--config={}", "--config {}", "-c {}"])
@pytest.mark.parametrize("tool", CONFIGURED)
def test_a_configuration_of_another_encoding_is_named(tool: str, form: str, tmp_path: Path) -> None:
    if tool == "train_clip":
        pytest.importorskip("open_clip", reason="extra vision-language is not installed")
    file = tmp_path / "own.yaml"
    file.write_bytes("# für uns\nrun_dir: runs/x\n".encode("latin-1"))
    done = run(f"tools/{tool}.py", *form.format(file).split())
    assert done.status == 1
    (line,) = done.err.strip().splitlines()
    assert line == f"error: {file}, line 1: byte 0xfc is not UTF-8: save it as UTF-8"


def test_statistics_advise_their_own_option(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tool, arguments = load("compute_stats"), [str(images), "--out", str(tmp_path / "s.json")]
    with pytest.raises(SystemExit, match=r"3\.png") as end:
        tool.main(arguments)
    tool.main([*arguments, *advised(str(end.value.code))])
    assert "(1 unreadable)" in capsys.readouterr().out


def test_commands_without_such_an_option_do_not_advise_it(images: Path, tmp_path: Path) -> None:
    for tool, arguments in (
        ("evaluate", ["random:test_resnet", str(images), "--accelerator", "cpu", "--size", "32"]),
        ("visualize", ["pca", "random:test_resnet", str(images / "3.png"), "--out", "x.png"]),
    ):
        with pytest.raises(SystemExit) as end:
            load(tool).main(arguments)
        assert "skip" not in str(end.value.code)


def test_faulty_annotations_advise_the_option_of_the_command(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 1, "file_name": "0.png", "width": 48, "height": 48}],
        "categories": [{"id": 1, "name": "ship"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, -3, 2]}],
    }
    file = tmp_path / "objects.json"
    file.write_text(json.dumps(content))
    Image.new("RGB", (48, 48)).save(tmp_path / "0.png")
    tool, arguments = load("convert_regions"), ["--coco", str(file), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match=r"objects\.json") as end:
        tool.main(arguments)
    assert advised(str(end.value.code)) == ["--on_error", "skip"]
    from cmid.vision_language.data import CocoRegions

    with pytest.raises(ValueError, match=r"objects\.json") as refusal:
        CocoRegions(file)
    assert "skip" not in str(refusal.value)  # evaluation has no such option


@pytest.mark.slow
def test_an_interrupted_run_says_how_to_go_on(images: Path, tmp_path: Path) -> None:
    Image.new("RGB", (48, 48)).save(images / "3.png")
    run_dir = tmp_path / "run"
    endless = ["--trainer.max_epochs=2000", "--checkpoints.every_n_steps=2"]
    command = [sys.executable, "tools/pretrain.py", *pretraining(images, run_dir), *endless]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # Jobs in the background ignore interruptions, and their children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 600
    while not list(run_dir.glob("checkpoints/step-*.ckpt")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, written = process.communicate(timeout=300)
    assert process.returncode == 130, written[-2000:]
    assert "Traceback" not in written
    last = written.strip().splitlines()[-1]
    assert f"--run_dir {run_dir} --ckpt_path last" in last
