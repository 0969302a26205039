"""The documentation builds without a warning, its examples run, its messages exist."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm

from cmid.vision_language.clip.building import build_clip
from cmid.vision_language.clip.config import CLIPConfig
from cmid.vision_language.clip.storage import save_clip
from tests.declared import ROOT
from tests.integration import in_process

DOCS = ROOT / "docs"
_FENCED = re.compile(r'^```python(?: title="(?P<title>[\w.]+)")?\n(?P<code>.*?)^```', re.S | re.M)


def blocks(page: str, section: str = "") -> list[tuple[str, str]]:
    """Titles and Python code of the fenced blocks of a page, or of one section of it."""
    text = (DOCS / page).read_text()
    if section:
        text = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
        assert text, f"{page} has no section {section}"
    return [(match["title"] or "", match["code"]) for match in _FENCED.finditer(text)]


def run(*words: str, folder: Path) -> str:
    """What Python prints, which finds modules in the folder and in the repository."""
    process = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return process.stdout


@pytest.mark.slow
def test_the_quickstart_pretrains_exports_loads_and_measures(tmp_path: Path) -> None:
    code = "\n".join(code for _, code in blocks("index.md"))
    assert "fit(" in code
    (tmp_path / "quickstart.py").write_text(code)
    printed = run("quickstart.py", folder=tmp_path)
    assert 0 <= float(printed.split()[-1]) <= 1
    assert (tmp_path / "runs/from_python/backbone/model.safetensors").is_file()


@pytest.mark.slow
def test_the_examples_of_scores_and_rewards_run(tmp_path: Path, tiny_clip: str) -> None:
    for name, code in blocks("scoring.md"):
        (tmp_path / name).write_text(code)
    clip = build_clip(CLIPConfig(tiny_clip))
    save_clip(clip, tmp_path / "runs/farslip_stage1_scenes/clip")
    assert len(json.loads(run("scorers.py", folder=tmp_path))) == 2
    assert run("preferences.py", folder=tmp_path) == "0.8458 0.5477\n"
    printed = json.loads(run("rewards.py", folder=tmp_path))
    assert printed == [pytest.approx(1.0), pytest.approx(1.0)]


def test_the_example_of_leaks_finds_them(capsys: pytest.CaptureFixture[str]) -> None:
    ((_, code),) = blocks("filtering.md")
    exec(compile(code, "leaks.py", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{k} scenes: scene/1/{k} (1.00)" for k in range(5)]


def test_the_example_of_preferences_replays_as_the_page_shows(tmp_path: Path) -> None:
    page = (DOCS / "preferences.md").read_text()
    (shown,) = re.findall(r"^```console\n(.*?)^```", page, re.S | re.M)
    command, _, printed = shown.replace("\\\n", " ").partition("\n")
    words = command.split()[2:]
    words[words.index("--run_dir") + 1] = str(tmp_path / "run")
    done = in_process.run(*words)
    assert done.status == 0, done.err
    said = done.out.replace(str(tmp_path / "run"), "runs/example").splitlines()
    said += [line for line in re.split(r"[\r\n]+", done.err) if line.startswith("LEFT OUT")]
    assert sorted(said) == sorted(printed.splitlines())
    report = (tmp_path / "run/report.md").read_text()
    tables = re.findall(r"(?:^\|.*\n)+", page.partition("## Candidates")[0], re.M)
    assert len(tables) == 2
    assert all(table in report for table in tables)
    (entry,) = re.findall(r"^```json\n(.*?)^```", page, re.S | re.M)
    made = json.loads((tmp_path / "run/preferences.json").read_text())
    assert json.loads(entry) | {"image_path": ""} in [each | {"image_path": ""} for each in made]


@pytest.mark.slow
def test_a_multimodal_model_is_built_saved_and_asked(tmp_path: Path) -> None:
    (tmp_path / "ask.py").write_text(dict(blocks("multimodal.md"))["ask.py"])
    assert run("ask.py", folder=tmp_path).startswith("2 answers\n")


@pytest.mark.slow
def test_the_example_of_a_new_method_is_trained_by_the_command(tmp_path: Path) -> None:
    ((name, code),) = blocks("extending.md", "A new method")
    (tmp_path / name).write_text(code)
    options = ["--model.class_path=vicreg.VICReg", "--model.width=16", "--run_dir=run"]
    options += ["--data.source.init_args.num_images=8", "--data.batch_size=4"]
    options += ["--data.knn_train.init_args.num_images=20", "--data.num_workers=0"]
    options += ["--data.knn_val.init_args.num_images=10", "--trainer.max_steps=2"]
    printed = run(str(ROOT / "tools/pretrain.py"), *options, folder=tmp_path)
    assert "VICReg: resnet18" in printed
    assert "kNN accuracy" in printed
    folder = tmp_path / "run/backbone"
    assert timm.create_model(f"local-dir:{folder}", pretrained=True).num_features == 256
    entry = json.loads((folder / "config.json").read_text())["cmid"]
    assert (entry["method"], entry["which"], entry["global_step"]) == ("VICReg", "encoder", 2)


@pytest.mark.slow
def test_the_example_of_a_new_benchmark_measures_frozen_features(tmp_path: Path) -> None:
    name, code = blocks("extending.md", "A new benchmark")[0]
    assert code.count("SceneSource(200") == 1
    (tmp_path / name).write_text(code.replace("SceneSource(200", "SceneSource(60"))
    printed = run(name, "random:test_resnet.r160_in1k", folder=tmp_path)
    _, _, row = printed.splitlines()
    assert row.startswith("| random:test_resnet.r160_in1k |")
    assert float(row.split("|")[2]) < 1


def test_the_example_of_a_new_metric_is_found_beside_those_of_its_base(tmp_path: Path) -> None:
    pytest.importorskip("mmseg")
    for name, code in blocks("extending.md", "A new benchmark")[1:]:
        (tmp_path / name).write_text(code)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "measure.py").write_text(MEASURE)
    assert run("measure.py", folder=tmp_path).split()[-1] == "25.0"


def test_the_example_of_a_new_sensor_finds_its_bands(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    page = (DOCS / "extending.md").read_text()
    described = re.search(r'^```json title="([\w.]+)"\n(.*?)^```', page, re.S | re.M)
    assert described is not None
    (tmp_path / described[1]).write_text(described[2])
    pixels = np.arange(1, 4 * 96 * 96 + 1, dtype=np.uint16).reshape(4, 96, 96)
    shape = {"count": 4, "height": 96, "width": 96, "dtype": "uint16"}
    (tmp_path / "SCENES").mkdir()
    with rasterio.open(tmp_path / "SCENES/a.tif", "w", driver="GTiff", **shape) as file:
        file.write(pixels)
    (name, code), *_ = blocks("extending.md", "A new sensor")
    (tmp_path / name).write_text(code)
    expected = "(4, 3, 2) | planetscope | ('nir', 'red', 'green') | uint16, scaled, in reflectance"
    assert run(name, folder=tmp_path).strip() == expected


MEASURE = """
import torch
from mmseg.registry import METRICS
from benchmarks.openmmlab.experiment import load_config

config = load_config("upernet_water.py")
assert "benchmarks.segmentation" in config.custom_imports.imports
metric = METRICS.build(config.val_evaluator[1])
found, true = torch.zeros(1, 2, 2), torch.zeros(1, 2, 2)
found[0, 0, 0] = metric.label
metric.process({}, [{"pred_sem_seg": {"data": found}, "gt_sem_seg": {"data": true}}])
print(metric.evaluate(1)["water/error"])
"""


def texts() -> list[str]:
    """All texts in the sources, with … where they are filled in."""
    found = []
    for top in ("cmid", "benchmarks"):
        for path in sorted((ROOT / top).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = [v.value if isinstance(v, ast.Constant) else "…" for v in node.values]
                    found.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return [" ".join(text.split()) for text in found]


def test_messages_that_troubleshooting_explains_exist() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|", (DOCS / "troubleshooting.md").read_text(), re.M)
    assert len(rows) > 10
    known = texts()
    for message in rows:
        pattern = re.compile(r".*?".join(map(re.escape, message.split("…"))))
        assert any(pattern.search(text) for text in known), message


def test_links_between_files_of_the_repository_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *DOCS.glob("*.md"), *ROOT.glob("benchmarks/reports/*.md")]
    links = [
        (page, target)
        for page in pages
        for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", page.read_text())
        if "://" not in target
    ]
    assert len(links) > 50
    broken = [f"{page}: {link}" for page, link in links if not (page.parent / link).exists()]
    assert not broken
