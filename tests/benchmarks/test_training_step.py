"""The speed table of a step: its rows, what each one counts, and what becomes of a failed one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image as Picture

from benchmarks.speed import training_step
from benchmarks.speed.data_wait import data_wait
from benchmarks.speed.device import Clock, peak_gib
from benchmarks.speed.table import keep
from benchmarks.speed.training_step import Step, main
from cmid.data import SceneSource
from cmid.data.source import Draws, Image, MinSize, WrappedSource
from cmid.data.statistics import MILLION_AID
from cmid.views import DeviceViews, ViewColourConfig

SMALL = ["--batch", "2", "--size", "64", "--pairs", "1", "--device", "cpu"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile nothing, which takes long, and take small heads."""
    small = {"queue_size": 64, "head_width": 16, "num_prototypes": 16}
    monkeypatch.setattr(torch, "compile", lambda call: call)
    monkeypatch.setattr(training_step, "CMID", partial(training_step.CMID, **small))


def rows_of(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text())["rows"]


def test_a_row_for_each_backbone_memory_format_and_compilation(tmp_path: Path) -> None:
    out = tmp_path / "step.json"
    ways = ["--channels_last", "false", "true", "--compile", "whole", "none", "blocks"]
    main(["--backbone", "test_resnet", "test_vit", *ways, *SMALL, "--out", str(out)])
    rows = rows_of(out)
    told = [(row["backbone"], row["compile"], row["channels_last"]) for row in rows]
    compilations, formats = ("none", "blocks", "whole"), ("false", "true")
    assert told == [
        *(("test_resnet", how, form) for how in compilations for form in formats),
        *(("test_vit", how, "false") for how in compilations),  # its blocks hold no convolution
    ]
    for row in rows:
        first = next(each for each in rows if each["backbone"] == row["backbone"])
        assert row["speed / eager"] == pytest.approx(first["step s"] / row["step s"])
        # Operations are those of the eager step, also where compilation hides them.
        operations = row["TFLOP/s"] * row["step s"]
        assert operations == pytest.approx(first["TFLOP/s"] * first["step s"])
        if row["compile"] == "none":
            assert row["compiled floor s"] is None
        else:
            floor = row["step s"] / row["compiled floor s"]
            assert row["step / compiled floor"] == pytest.approx(floor)


def test_operations_of_a_batch_follow_from_those_of_a_small_one() -> None:
    config = training_step.StepConfig(batch=32, size=96, device="cpu")
    step = Step(training_step.Case("test_resnet"), config)
    with training_step.FlopCounterMode(display=False) as counter:
        step.loss(step.views).backward()
    # How many cells are masked, and so decoded, is random.
    counted = pytest.approx(counter.get_total_flops(), rel=0.03)
    assert training_step.operations("test_resnet", config) == counted


def failing(error: Exception, name: str) -> Callable[[Step], None]:
    """A step that fails on one backbone."""
    take = Step.take

    def step(self: Step, *views: Any) -> None:
        if self.model.student.encoder.name == name:
            raise error
        take(self, *views)

    return step


def test_a_row_that_runs_out_of_memory_says_so_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Step, "take", failing(torch.OutOfMemoryError("CUDA"), "test_resnet"))
    out = tmp_path / "step.md"
    main(["--backbone", "test_resnet", "test_vit", *SMALL, "--out", str(out)])
    head, _, large, small = out.read_text().splitlines()[:4]
    columns = head.split(" | ")
    assert "step s" in columns
    assert large.split(" | ")[3] == "out of memory"
    assert float(small.split(" | ")[columns.index("step s")]) > 0
    assert "lower --batch or --size" in capsys.readouterr().out


def test_rows_before_a_fault_are_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Step, "take", failing(RuntimeError("a fault"), "test_vit"))
    out = tmp_path / "step.json"
    with pytest.raises(RuntimeError, match="a fault"):
        main(["--backbone", "test_resnet", "test_vit", *SMALL, "--out", str(out)])
    assert [row["backbone"] for row in rows_of(out)] == ["test_resnet"]


def test_the_wait_for_images_is_told_for_workers(tmp_path: Path) -> None:
    out = tmp_path / "step.json"
    for i in range(2):
        pixels = SceneSource(1, size=96, seed=i).read(0).pixels
        Picture.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / f"{i}.png")
    reading = ["--workers", "0", "--images", str(tmp_path)]
    main(["--backbone", "test_vit", *SMALL, *reading, "--out", str(out)])
    (row,) = rows_of(out)
    assert row["images/s with loader"] > 0
    assert 0 <= row["data wait"] < 1


class Slow(WrappedSource):
    """A source on a slow disk."""

    def decode(self, index: int, min_size: MinSize, generator: Draws) -> Image:
        time.sleep(0.05)
        return super().decode(index, min_size, generator)


def test_a_slow_disk_is_what_training_waits_for() -> None:
    told = data_wait(
        lambda views: None,
        DeviceViews(ViewColourConfig(), MILLION_AID),
        Slow(SceneSource(2, size=64)),
        size=32,
        batch=2,
        workers=0,
        steps=3,
        clock=Clock("cpu"),
    )
    assert 0.5 < told["data wait"] < 1
    assert told["images/s with loader"] < 20


def test_images_without_workers_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--images", "anywhere"])
    assert "--workers" in capsys.readouterr().err


class Event:
    """An event of a GPU that lasts a second to the next one."""

    count = 0

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing

    def record(self, stream: str) -> None:
        assert stream == "stream of cuda:1"
        Event.count += 1
        self.number = Event.count

    def elapsed_time(self, other: Event) -> float:
        return 1000.0 * (other.number - self.number)


def test_a_clock_waits_for_its_own_gpu_and_only_around_a_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waited: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    monkeypatch.setattr(torch.cuda, "current_stream", "stream of {}".format)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    clock = Clock("cuda:1")

    def step() -> None:
        clock.time("forward", lambda: clock.time("loss", lambda: None))
        clock.time("backward", lambda: None)

    clock.time("step", step)
    assert waited == ["cuda:1"] * 2
    assert {name: len(times) for name, times in clock.parts.items()} == dict.fromkeys(
        ("step", "forward", "loss", "backward"), 1
    )
    assert clock.parts["forward"] == [3.0]


def test_peak_memory_is_that_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", asked.append)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", asked.append)
    monkeypatch.setattr(
        torch.cuda, "max_memory_allocated", lambda device: asked.append(device) or 2**30
    )
    assert peak_gib(lambda: None, "cuda:1") == 1
    assert set(asked) == {"cuda:1"}


def test_the_gpu_that_was_measured_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", "name of {}".format)
    keep([], training_step.StepConfig(device="cuda:1", out=str(tmp_path / "step.json")))
    written = json.loads((tmp_path / "step.json").read_text())
    assert (written["device"], written["hardware"]) == ("cuda:1", "name of cuda:1")
    assert written["threads"] == torch.get_num_threads()
