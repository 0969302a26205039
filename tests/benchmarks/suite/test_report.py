from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")

from benchmarks.suite import comparison
from benchmarks.suite.comparison import run_suite
from benchmarks.suite.report import lead_table, notes, table, write_report
from benchmarks.suite.rows import make_rows
from benchmarks.suite.runs import Result
from benchmarks.suite.tasks import AP50, MIOU, SUITES, Task
from benchmarks.suite.variants import PLAIN, Variant, labels_of
from cmid.reporting import markdown_table

TASKS = (
    Task("roads", "configs/segmentation/upernet_resnet18_roads.py", MIOU),
    Task("planes", "configs/detection/faster_rcnn_resnet50_airplanes.py", AP50),
)
BACKBONES = ("runs/a/backbone", "random:resnet18")


def result(
    task: str,
    backbone: str,
    score: float,
    picture: str = "p.png",
    variant: Variant = PLAIN,
    seed: int = 0,
) -> Result:
    return Result(task, backbone, score, 1.0, (picture,), variant, seed)


def results(task: str, ours: Sequence[float], random: Sequence[float], **more: Variant) -> Any:
    """Of a backbone and of random weights, with seeds 0, 1, ..."""
    return [
        result(task, name, score, seed=seed, **more)
        for name, scores in zip(BACKBONES, (ours, random), strict=True)
        for seed, score in enumerate(scores)
    ]


def test_a_table_of_means_marks_the_best() -> None:
    found = results("roads", (60.0, 62.0), (50.0, 50.0)) + results("planes", (10.0,), (20.0,))
    rows = make_rows(TASKS, BACKBONES, found)
    assert markdown_table(table(rows, BACKBONES)).splitlines()[2:] == [
        "| roads | mIoU | **61.0 ± 1.0** | 50.0 ± 0.0 |",
        "| planes | AP50 | 10.0 | **20.0** |",
    ]
    one = make_rows(TASKS, BACKBONES, results("roads", (60.0,), (50.0,)))
    assert notes(one, BACKBONES) == [
        "Better than random:resnet18, of 1 tasks: runs/a/backbone on 1."
    ]
    assert lead_table(one, BACKBONES) == []  # nothing is known of the spread


def test_seeds_that_overlap_are_ties_and_leads_are_paired() -> None:
    few = Variant("10", frozen=True)
    found = results("roads", (60.0, 62.0, 64.0), (50.0, 51.0, 55.0))
    found += results("roads", (40.0, 44.0), (43.0, 42.0), variant=few)
    found += results("planes", (20.0, 22.0), (10.0, 10.0), variant=few)
    rows = make_rows(TASKS, BACKBONES, found)
    assert markdown_table(table(rows, BACKBONES)).splitlines() == [
        "| task | labels | backbone | measure | runs/a/backbone | random:resnet18 |",
        "| --- | --- | --- | --- | ---: | ---: |",
        "| roads | all labels | fine-tuned | mIoU | **62.0 ± 2.0** | 52.0 ± 2.5 |",
        "| roads | 10 labels | frozen | mIoU | **42.0 ± 2.0** | **42.5 ± 0.5** |",
        "| planes | 10 labels | frozen | AP50 | **21.0 ± 1.0** | 10.0 ± 0.0 |",
    ]
    (leads,) = lead_table(rows, BACKBONES)
    assert [row.cells[-1] for row in leads.rows] == [
        "+10.0 ± 1.0 [7.5, 12.5]",
        "-0.5 ± 2.5, tie",
        "+11.0 ± 1.0",
    ]
    assert notes(rows, BACKBONES) == [
        "all labels, fine-tuned: better than random:resnet18 beyond the range of seeds,"
        " of 1 tasks: runs/a/backbone on 1 (ties 0).",
        "10 labels, frozen: better than random:resnet18 beyond the range of seeds,"
        " of 2 tasks: runs/a/backbone on 1 (ties 1).",
    ]


def test_curves_over_labels_are_drawn_where_there_are_several_numbers(tmp_path: Path) -> None:
    found = results("roads", (60.0, 62.0), (50.0, 51.0))
    found += results("roads", (40.0, 44.0), (43.0, 42.0), variant=Variant("10"))
    found += results("roads", (30.0, 34.0), (33.0, 32.0), variant=Variant("10", frozen=True))
    write = {"title": "Title", "command": "command", "places": {"roads": 50}}
    write_report(tmp_path, make_rows(TASKS, BACKBONES, found), BACKBONES, **write)
    assert (tmp_path / "labels.png").is_file()
    page = (tmp_path / "report.md").read_text()
    assert "(labels.png)" in page
    assert "## roads, 10 labels, frozen" in page
    assert "## Differences" in page


def test_a_page_shows_pictures_and_escapes_names(tmp_path: Path) -> None:
    names = ("<script>", "random:resnet18")
    found = [result("roads", name, 1.0, picture="roads/one.png") for name in names]
    rows = make_rows(TASKS, names, found)
    assert [row.task.name for row in rows] == ["roads"]  # planes was not run
    command = "python tools/benchmark.py"
    write_report(tmp_path, rows, names, places={}, title="Title", command=command)
    assert not (tmp_path / "labels.png").exists()
    page = (tmp_path / "report.html").read_text()
    assert page.count('src="roads/one.png"') == 2
    assert "<script>" not in page
    assert "python tools/benchmark.py" in (tmp_path / "report.md").read_text()


def test_every_task_names_a_configuration(root: Path) -> None:
    tasks = [task for suite in SUITES.values() for task in suite]
    assert not [task.config for task in tasks if not (root / task.config).is_file()]
    assert len({task.folder for task in tasks}) == len(tasks)


def test_more_labels_than_there_are_stop_a_suite_before_its_first_run() -> None:
    task = SUITES["scenes"][0]
    small = ["train_dataloader.dataset.num_scenes=50"]
    assert labels_of(task, ["4", "all"], small) == 4
    message = "classification: --labels 5: 5 labelled .* of each class: a class has only 4"
    with pytest.raises(ValueError, match=message):
        labels_of(task, ["2", "5"], small)


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
            labels=["1", "all"],
            options=options,
            command="command",
        )

    table = run()
    for labels in ("1 label", "all labels"):
        assert f"| classification | {labels} | top-1 accuracy |" in table
    own = tmp_path / "classification/random_resnet18"
    pictures = list(own.glob("seed-0/pictures/*.png"))
    assert len(pictures) == 8  # a fifth of the scenes
    assert (tmp_path / "labels.png").is_file()
    logs = [path.stat().st_mtime_ns for path in tmp_path.rglob("train.log")]
    assert run() == table
    assert [path.stat().st_mtime_ns for path in tmp_path.rglob("train.log")] == logs
