from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")

from benchmarks.suite import comparison
from benchmarks.suite.comparison import run_suite
from benchmarks.suite.report import make_rows, note, table, write_report
from benchmarks.suite.runs import Result, folder_name
from benchmarks.suite.tasks import AP50, MIOU, SUITES, Task
from cmid.reporting import markdown_table

TASKS = (
    Task("roads", "configs/segmentation/upernet_resnet18_roads.py", MIOU),
    Task("planes", "configs/detection/faster_rcnn_resnet50_airplanes.py", AP50),
)
BACKBONES = ("runs/a/backbone", "random:resnet18")


def result(task: str, backbone: str, score: float, picture: str = "p.png") -> Result:
    return Result(task, backbone, score, 1.0, (picture,))


def test_a_table_of_means_marks_the_best() -> None:
    results = [result("roads", BACKBONES[0], score) for score in (60.0, 62.0)]
    results += [result("roads", BACKBONES[1], score) for score in (50.0, 50.0)]
    results += [result("planes", BACKBONES[0], 10.0), result("planes", BACKBONES[1], 20.0)]
    rows = make_rows(TASKS, BACKBONES, results)
    assert markdown_table(table(rows, BACKBONES)).splitlines()[2:] == [
        "| roads | mIoU | **61.0 ± 1.0** | 50.0 ± 0.0 |",
        "| planes | AP50 | 10.0 | **20.0** |",
    ]
    assert note(rows, BACKBONES).endswith("of 2 tasks: runs/a/backbone on 1.")


def test_a_page_shows_pictures_and_escapes_names(tmp_path: Path) -> None:
    names = ("<script>", "random:resnet18")
    results = [result("roads", name, 1.0, picture="roads/one.png") for name in names]
    rows = make_rows(TASKS, names, results)
    assert [row.task.name for row in rows] == ["roads"]  # planes was not run
    write_report(tmp_path, rows, names, title="Title", command="python tools/benchmark.py")
    page = (tmp_path / "report.html").read_text()
    assert page.count('src="roads/one.png"') == 2
    assert "<script>" not in page
    assert "python tools/benchmark.py" in (tmp_path / "report.md").read_text()


def test_every_task_names_a_configuration(root: Path) -> None:
    tasks = [task for suite in SUITES.values() for task in suite]
    assert not [task.config for task in tasks if not (root / task.config).is_file()]
    assert len({task.folder for task in tasks}) == len(tasks)


def test_backbones_get_folders_of_their_own() -> None:
    assert folder_name("random:resnet18") == "random_resnet18"
    assert folder_name("../runs/x/backbone") == "runs_x_backbone"


def test_unknown_tasks_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no task 'roads' in suite scenes: give classification"):
        run_suite(["random:resnet18"], suite="scenes", out=tmp_path, names=["roads"], command="")


def test_scenes_are_generated_and_another_number_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "working_folder", lambda: tmp_path)
    for number, name in enumerate(("segmentation", "detection", "change_detection"), start=1):
        writer = f"benchmarks.{name}.scenes.write_scenes"
        task = Task(name, "config", MIOU, name, writer, train=number, val=1, size=64)
        comparison._require_data(task)
        before = sorted(tmp_path.rglob("*"))
        comparison._require_data(task)
        assert sorted(tmp_path.rglob("*")) == before
        with pytest.raises(ValueError, match=rf"{name} holds {number} \+ 1 scenes, not 9 \+ 1"):
            comparison._require_data(replace(task, train=9))


@pytest.mark.slow
def test_a_suite_runs_and_is_not_run_twice(tmp_path: Path) -> None:
    options = ["train_cfg.max_epochs=1", "param_scheduler=[]", "train_dataloader.batch_size=16"]
    for part in ("train", "val", "test"):
        loader = f"{part}_dataloader"
        options += [f"{loader}.dataset.num_scenes=40", f"{loader}.num_workers=0"]
        options += [f"{loader}.persistent_workers=False"]

    def run() -> str:
        return run_suite(
            ["random:resnet18"],
            suite="scenes",
            out=tmp_path,
            names=["classification"],
            options=options,
            command="command",
        )

    table = run()
    assert "| classification | top-1 accuracy |" in table
    pictures = list((tmp_path / "classification").rglob("pictures/*.png"))
    assert len(pictures) == 8  # a fifth of the scenes
    logs = [path.stat().st_mtime_ns for path in tmp_path.rglob("train.log")]
    assert run() == table
    assert [path.stat().st_mtime_ns for path in tmp_path.rglob("train.log")] == logs
