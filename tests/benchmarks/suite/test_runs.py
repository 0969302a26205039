from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")

from benchmarks.suite import comparison, runs
from benchmarks.suite.comparison import run_suite
from benchmarks.suite.runs import FailedRunError, Run, execute, folder_name
from benchmarks.suite.settings import backbone_digest, settings_of
from benchmarks.suite.tasks import MIOU, Task
from benchmarks.suite.variants import PLAIN, variants
from cmid.export import to_timm
from cmid.models import MaskedEncoder

TASK = Task("roads", "configs/segmentation/upernet_resnet18_roads.py", MIOU)
RANDOM = "random:resnet18"


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The commands of runs, which leave a score that counts them in place of being run."""
    commands: list[Sequence[str]] = []

    def call(arguments: Sequence[str], log: Path) -> None:
        commands.append(arguments)
        work = Path(arguments[arguments.index("--work_dir") + 1])
        if arguments[0] == "train":
            (work / "last_checkpoint").write_text("epoch_1.pth")
            return
        (work / "now").mkdir(parents=True)
        scores = {"mIoU": 30.0 + len(commands), "accuracy/top1": 60.0 + len(commands)}
        (work / "now/scores.json").write_text(json.dumps(scores))

    monkeypatch.setattr(runs, "_call", call)
    return commands


def settings(*options: str, backbone: str = RANDOM) -> dict[str, Any]:
    return settings_of(TASK, options) | {"backbone": backbone_digest(backbone)}


def run_of(out: Path, settings: dict[str, Any], *, seed: int = 0) -> Run:
    return Run(TASK, RANDOM, seed, PLAIN, settings, out)


def test_backbones_get_folders_of_their_own() -> None:
    assert folder_name("random:resnet18") == "random_resnet18"
    assert folder_name("../runs/x/backbone") == "runs_x_backbone"


def test_ways_to_learn_have_folders_and_options_of_their_own(
    tmp_path: Path, called: list[Sequence[str]]
) -> None:
    ways = variants(["10", "all", "10"], frozen=True)
    assert [way.folder for way in ways] == ["labels-10", "", "labels-10-frozen", "frozen"]
    own = settings()
    for _ in range(2):  # the second time everything lies there
        found = [execute(replace(run_of(tmp_path, own, seed=1), variant=way)) for way in ways]
    trainings = [arguments[6:] for arguments in called if arguments[0] == "train"]
    assert trainings == [
        ["--seed", "1", "--labels", "10"],
        ["--seed", "1"],
        ["--seed", "1", "--labels", "10", "--frozen"],
        ["--seed", "1", "--frozen"],
    ]
    assert [(each.variant, each.seed) for each in found] == [(way, 1) for way in ways]
    folder = tmp_path / "roads/random_resnet18"
    assert (folder / "seed-1/result.json").is_file()
    assert (folder / "labels-10-frozen/seed-1/result.json").is_file()


def test_a_run_with_other_options_is_not_taken_for_the_one_asked_for(
    tmp_path: Path, called: list[Sequence[str]]
) -> None:
    stride = "model.backbone.output_stride=16"
    execute(run_of(tmp_path, settings(stride)))
    assert called[0][-2:] == ["--cfg_options", stride]
    with pytest.raises(ValueError, match=f"made with --cfg_options {stride}: give another --out"):
        execute(run_of(tmp_path, settings()))
    execute(run_of(tmp_path, settings(), seed=1))
    (tmp_path / "roads/random_resnet18/seed-1/result.json").unlink()  # as an interrupted one
    with pytest.raises(ValueError, match="seed-1 was made with no --cfg_options: give another"):
        execute(run_of(tmp_path, settings(stride), seed=1))
    assert len(called) == 4


def test_settings_tell_states_of_a_configuration_apart(tmp_path: Path) -> None:
    text = 'model = dict(backbone=dict(type="CMIDBackbone", name="random:resnet18"))\n'
    path = tmp_path / "config.py"
    digests = []
    for ending in ("epochs = 1\n", "epochs = 1  # as before\n", "epochs = 2\n"):
        path.write_text(text + ending)
        own = settings_of(replace(TASK, config=str(path)), [])
        digests.append(own["configuration"])
    assert digests[0] == digests[1] != digests[2]


def test_another_backbone_of_the_same_name_is_noticed(
    tmp_path: Path, called: list[Sequence[str]]
) -> None:
    export = tmp_path / "backbone"
    encoder = MaskedEncoder("resnet18", img_size=64)
    to_timm(encoder, export)
    made = settings(backbone=str(export))
    own = replace(run_of(tmp_path / "out", made), backbone=str(export))
    execute(own)
    to_timm(encoder, export, overwrite=True)  # the same again
    assert settings(backbone=str(export)) == made
    to_timm(MaskedEncoder("resnet18", img_size=64), export, overwrite=True)
    with pytest.raises(ValueError, match="seed-0 was made with another backbone of this name"):
        execute(replace(own, settings=settings(backbone=str(export))))
    weights = export / "model.safetensors"
    before = [backbone_digest(name) for name in (str(weights), f"random:{export}")]
    to_timm(encoder, export, overwrite=True)
    assert backbone_digest(str(weights)) != before[0]
    assert backbone_digest(f"random:{export}") != before[1]


def test_results_of_before_are_set_aside_and_made_again(
    tmp_path: Path, called: list[Sequence[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "roads/random_resnet18/seed-2"
    folder.mkdir(parents=True)
    old = {"task": "roads", "backbone": RANDOM, "score": 1.0, "seconds": 2.0, "pictures": []}
    (folder / "result.json").write_text(json.dumps(old))
    (folder / "last_checkpoint").write_text("epoch_1.pth")
    for _ in range(2):
        found = execute(run_of(tmp_path, settings(), seed=2))
        assert found.score == 32.0
    assert "--resume" not in called[0]
    assert (
        "seed-2 does not tell its settings: moved to seed-2-unrecorded" in capsys.readouterr().out
    )
    kept = folder.with_name("seed-2-unrecorded") / "result.json"
    assert json.loads(kept.read_text()) == old


def test_a_suite_refuses_runs_with_other_options_before_its_first(
    tmp_path: Path, called: list[Sequence[str]]
) -> None:
    def run(*options: str, seeds: Sequence[int] = (0,)) -> None:
        run_suite(
            [RANDOM],
            suite="scenes",
            out=tmp_path,
            names=["classification"],
            seeds=seeds,
            options=options,
            command="command",
        )

    run(seeds=(1,))
    before = len(called)
    with pytest.raises(ValueError, match="seed-1 was made with no --cfg_options"):
        run("train_dataloader.batch_size=16", seeds=(0, 1))
    assert len(called) == before


def test_a_task_that_fails_does_not_stop_the_others(
    tmp_path: Path,
    called: list[Sequence[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    succeed = runs._call

    def call(arguments: Sequence[str], log: Path) -> None:
        if "classification" in str(log) and "seed-0" in str(log):
            raise FailedRunError(f"train failed, see {log}")
        if "classification" in str(log) and arguments[0] == "train":
            return  # without a checkpoint
        succeed(arguments, log)

    monkeypatch.setattr(runs, "_call", call)
    monkeypatch.setattr(comparison, "_require_data", lambda task: None)

    def run(*names: str) -> None:
        run_suite(
            [RANDOM], suite="scenes", out=tmp_path, names=names, seeds=(0, 1), command="command"
        )

    log = r"seed-0/train\.log"
    with pytest.raises(FailedRunError, match=f"2 of 4 runs failed: classification, .*{log}; cla"):
        run("classification", "segmentation")
    page = (tmp_path / "report.md").read_text()
    assert "| segmentation | mIoU |" in page
    assert "**Left out: 2 of 4 runs.**" in page
    assert "seed-1/train.log" in page
    assert "| segmentation | mIoU |" in capsys.readouterr().out
    monkeypatch.setattr(runs, "_call", succeed)
    run("classification", "segmentation")  # what failed, again
    assert "Left out" not in (tmp_path / "report.md").read_text()
