from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")

from benchmarks.suite import comparison
from benchmarks.suite.comparison import run_suite
from benchmarks.suite.report import About, lead_table, notes, table, write_report
from benchmarks.suite.rows import make_rows, over_seeds
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
    found = results("roads", (60.9, 61.1), (50.0, 50.0)) + results("planes", (10.0,), (20.0,))
    rows = make_rows(TASKS, BACKBONES, found)
    assert markdown_table(table(rows, BACKBONES)).splitlines()[2:] == [
        "| roads | mIoU | **61.0 ± 0.1 [59.7, 62.3]** | 50.0 ± 0.0 |",
        "| planes | AP50 | 10.0 | **20.0** |",
    ]
    one = make_rows(TASKS, BACKBONES, results("roads", (60.0,), (50.0,)))
    assert notes(one, BACKBONES) == [
        "Better than random:resnet18, of 1 tasks: runs/a/backbone on 1."
    ]
    assert lead_table(one, BACKBONES) == []  # nothing is known of the spread
    assert notes(one, BACKBONES[1:]) == []  # nothing to be better than


def test_differences_whose_paired_interval_holds_0_are_ties() -> None:
    few = Variant("10", frozen=True)
    found = results("roads", (60.0, 62.0, 64.0), (50.0, 51.0, 55.0))
    found += results("roads", (40.0, 44.0), (43.0, 42.0), variant=few)
    found += results("planes", (20.0, 22.0), (10.0, 10.0), variant=few)
    rows = make_rows(TASKS, BACKBONES, found)
    assert markdown_table(table(rows, BACKBONES)).splitlines() == [
        "| task | labels | backbone | measure | runs/a/backbone | random:resnet18 |",
        "| --- | --- | --- | --- | ---: | ---: |",
        "| roads | all labels | fine-tuned | mIoU"
        " | **62.0 ± 2.0 [57.0, 67.0]** | 52.0 ± 2.5 [45.4, 58.6] |",
        "| roads | 10 labels | frozen | mIoU"
        " | **42.0 ± 2.0 [16.6, 67.4]** | **42.5 ± 0.5 [36.1, 48.9]** |",
        "| planes | 10 labels | frozen | AP50 | **21.0 ± 1.0 [8.3, 33.7]** | **10.0 ± 0.0** |",
    ]
    (leads,) = lead_table(rows, BACKBONES)
    assert [row.cells[-1] for row in leads.rows] == [
        "+10.0 ± 1.0 [7.5, 12.5]",
        "-0.5 ± 2.5 [-32.3, 31.3], tie",
        "+11.0 ± 1.0 [-1.7, 23.7], tie",  # no seed of one beats the other's, but two are few
    ]
    assert notes(rows, BACKBONES) == [
        "all labels, fine-tuned: better than random:resnet18 beyond the spread of seeds,"
        " of 1 tasks: runs/a/backbone on 1 (ties 0).",
        "10 labels, frozen: better than random:resnet18 beyond the spread of seeds,"
        " of 2 tasks: runs/a/backbone on 0 (ties 2).",
    ]


def test_what_is_ahead_with_every_seed_is_no_tie_though_ranges_overlap() -> None:
    found = results("roads", (51.0, 61.1, 70.9), (50.0, 60.0, 70.0))
    (row,) = make_rows(TASKS, BACKBONES, found)
    assert row.lead(*BACKBONES) == "+1.0 ± 0.1 [0.8, 1.2]"
    assert row.leading() == [BACKBONES[0]]
    # Without a spread of differences there is no interval, and ranges have to do.
    (row,) = make_rows(TASKS, BACKBONES, results("roads", (51.0, 61.0), (50.0, 60.0)))
    assert row.lead(*BACKBONES) == "+1.0 ± 0.0, tie"
    (row,) = make_rows(TASKS, BACKBONES, results("roads", (61.0, 62.0), (50.0, 51.0)))
    assert row.lead(*BACKBONES) == "+11.0 ± 0.0"


def test_intervals_of_scores_end_where_percentages_do() -> None:
    (row,) = make_rows(TASKS, BACKBONES, results("roads", (98.0, 99.0), (1.0, 3.0)))
    assert [row.text(name) for name in BACKBONES] == [
        "98.5 ± 0.5 [92.1, 100.0]",
        "2.0 ± 1.0 [0.0, 14.7]",
    ]


def test_intervals_of_seeds_hold_the_mean_as_often_as_they_say() -> None:
    draws = np.random.default_rng(0)
    for count in (2, 3, 5):
        found = [over_seeds(list(draws.normal(50, 3, count))) for _ in range(2000)]
        held = [own is not None and own[0] <= 50 <= own[1] for own in found]
        assert abs(np.mean(held) - 0.95) < 0.02


def test_a_backbone_whose_runs_failed_has_an_empty_cell(tmp_path: Path) -> None:
    found = results("roads", (60.0, 62.0, 64.0), (50.0, 51.0, 55.0))
    lost = [each for each in found if (each.backbone, each.seed) != (BACKBONES[0], 1)]
    (row,) = make_rows(TASKS, BACKBONES, lost)
    assert row.lead(*BACKBONES) == "+9.5 ± 0.5 [3.1, 15.9]"  # of seeds that both have
    few = results("roads", (), (40.0, 41.0), variant=Variant("10"))
    rows = make_rows(TASKS, BACKBONES, [*found, *few])
    assert table(rows, BACKBONES).rows[1].cells[-2:] == ("", "40.5 ± 0.5 [34.1, 46.9]")
    assert lead_table(rows, BACKBONES)[0].rows[1].cells[-1] == ""
    assert notes(rows, BACKBONES)[1].endswith("runs/a/backbone on 0 (ties 0, no scores 1).")
    write: dict[str, Any] = {"about": About("Title", "command"), "places": {"roads": 50}}
    write_report(tmp_path, rows, BACKBONES, **write)
    assert (tmp_path / "labels.png").is_file()


def test_curves_over_labels_are_drawn_where_there_are_several_numbers(tmp_path: Path) -> None:
    found = results("roads", (60.0, 62.0), (50.0, 51.0))
    found += results("roads", (40.0, 44.0), (43.0, 42.0), variant=Variant("10"))
    found += results("roads", (30.0, 34.0), (33.0, 32.0), variant=Variant("10", frozen=True))
    write: dict[str, Any] = {"about": About("Title", "command"), "places": {"roads": 50}}
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
    about = About("Title", "python tools/benchmark.py")
    write_report(tmp_path, rows, names, places={}, about=about)
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
def test_a_suite_runs_and_is_not_run_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["train_cfg.max_epochs=1", "param_scheduler=[]", "train_dataloader.batch_size=16"]
    for part in ("train", "val", "test"):
        loader = f"{part}_dataloader"
        options += [f"{loader}.dataset.num_scenes=40", f"{loader}.num_workers=0"]
        options += [f"{loader}.persistent_workers=False"]

    def run() -> str:
        run_suite(
            ["random:resnet18"],
            suite="scenes",
            out=tmp_path,
            names=["classification"],
            labels=["1"],
            options=options,
            command="command",
        )
        out = capsys.readouterr().out  # below what packages say as they are imported
        return out[out.index("| task |") :]

    table = run()
    assert "| classification | 1 label | top-1 accuracy |" in table
    own = tmp_path / "classification/random_resnet18/labels-1"
    pictures = list(own.glob("seed-0/pictures/*.png"))
    assert len(pictures) == 8  # a fifth of the scenes
    logs = [path.stat().st_mtime_ns for path in tmp_path.rglob("train.log")]
    assert run() == table
    assert [path.stat().st_mtime_ns for path in tmp_path.rglob("train.log")] == logs
