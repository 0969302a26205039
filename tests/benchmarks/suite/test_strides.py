from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("mmcv._ext", reason="extra openmmlab is not installed")

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from benchmarks.openmmlab.experiment import load_config, parse_options
from benchmarks.openmmlab.preflight import check_strides
from benchmarks.suite import comparison, runs
from benchmarks.suite.comparison import run_suite
from benchmarks.suite.report import About, notes, table, write_report
from benchmarks.suite.rows import make_rows
from benchmarks.suite.runs import Result
from benchmarks.suite.strides import stride_facts, stride_options, strides_of
from benchmarks.suite.tasks import AP, SUITES, Task
from benchmarks.suite.variants import variants
from cmid.export import to_timm
from cmid.models import MaskedEncoder
from cmid.reporting import markdown_table

RANDOM = "random:resnet18"
TASKS = {f"{suite}-{task.folder}": task for suite, own in SUITES.items() for task in own}


@pytest.fixture(scope="module")
def fine(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An export that was pretrained with stride 16."""
    encoder = MaskedEncoder("resnet18", img_size=64, output_stride=16)
    return str(to_timm(encoder, tmp_path_factory.mktemp("fine") / "backbone"))


def build(config: Config) -> Any:
    with DefaultScope.overwrite_default_scope(config.default_scope):
        return MODELS.build(config.model)


def test_strides_of_pretraining_are_those_of_the_exports(fine: str, tmp_path: Path) -> None:
    usual = str(to_timm(MaskedEncoder("resnet18", img_size=64), tmp_path / "usual"))
    assert strides_of(["as-pretrained"], [fine, RANDOM]) == [16]
    assert strides_of(["as-pretrained", "32"], [fine, RANDOM]) == [16, 32]
    assert strides_of(["32", "as-pretrained"], [usual, fine, RANDOM]) == [32, 16]
    assert strides_of(["as-pretrained"], [RANDOM]) == [32]
    swin = "random:swin_tiny_patch4_window7_224"
    assert strides_of(["32"], [swin]) == [32]
    with pytest.raises(ValueError, match=f"--strides 16: {swin} has no variable stride"):
        strides_of(["16"], [fine, swin])


def test_a_report_says_at_which_strides_backbones_were_pretrained(fine: str) -> None:
    assert stride_facts([32], [RANDOM]) == []
    (hint,) = stride_facts([32], [fine, RANDOM])
    assert hint.startswith(
        f"Pretrained: {fine} with stride 16. Here all are laid out for stride 32"
    )
    (fact,) = stride_facts([16, 32], [fine, RANDOM])
    assert "random weights included" in fact
    assert fact.endswith(f"Pretrained: {fine} with stride 16.")


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_laid_out_for_a_finer_stride(name: str) -> None:
    task = TASKS[name]
    given = ["model.backbone.norm_eval=True"]
    options = parse_options([*task.options, *given, *stride_options(task, 16, given)])
    model = build(load_config(task.config, backbone=RANDOM, options=options))
    check_strides(model)
    assert model.backbone.strides[-1] == 16
    assert model.backbone.norm_eval
    assert stride_options(task, 32) == []
    mine = ["model.backbone.output_stride=None"]
    for stride in (16, 32):
        with pytest.raises(ValueError, match=r"output_stride=None: give --strides, which lays out"):
            stride_options(task, stride, mine)


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize("config", ["faster_rcnn_resnet18_scenes", "retinanet_resnet18_scenes"])
def test_anchors_keep_their_sizes_and_lie_on_the_cells(config: str, stride: int) -> None:
    task = Task("detection", f"configs/detection/{config}.py", AP)
    usual = build(load_config(task.config))
    fine = build(load_config(task.config, options=parse_options(stride_options(task, stride))))
    check_strides(fine)
    heads = [getattr(model, "rpn_head", None) or model.bbox_head for model in (usual, fine)]
    before, after = (head.prior_generator for head in heads)
    for own, other in zip(after.base_anchors, before.base_anchors, strict=True):
        sizes = [anchors[:, 2:] - anchors[:, :2] for anchors in (own, other)]
        torch.testing.assert_close(*sizes)
    maps = fine.extract_feat(torch.rand(1, 3, 128, 128))
    assert [(128 // each.shape[-1],) * 2 for each in maps] == after.strides


def test_rows_of_strides_stand_beside_each_other(tmp_path: Path) -> None:
    ways = variants(["10", "all"], frozen=False, strides=[16, 32])
    assert [way.folder for way in ways] == ["labels-10-stride-16", "labels-10", "stride-16", ""]
    assert str(ways[2]) == "all labels, fine-tuned, stride 16"
    task = replace(SUITES["scenes"][0], name="roads")
    found = [
        Result("roads", name, score + way.stride, 1.0, (), way)
        for way in ways
        for name, score in (("a", 20.0), (RANDOM, 10.0))
    ]
    rows = make_rows([task], ["a", RANDOM], found)
    assert markdown_table(table(rows, ["a", RANDOM])).splitlines()[2:4] == [
        "| roads | 10 labels | stride 16 | top-1 accuracy | **36.0** | 26.0 |",
        "| roads | 10 labels | stride 32 | top-1 accuracy | **52.0** | 42.0 |",
    ]
    assert notes(rows, ["a", RANDOM])[0] == (
        "10 labels, stride 16: better than random:resnet18, of 1 tasks: a on 1."
    )
    about = About("Title", "command", ["Stride: told."])
    write_report(tmp_path, rows, ["a", RANDOM], places={"roads": 50}, about=about)
    assert (tmp_path / "labels.png").is_file()
    assert "- Stride: told." in (tmp_path / "report.md").read_text()


def test_random_weights_have_the_stride_of_pretraining_too(
    fine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laid = []

    def execute(run: runs.Run) -> Result:
        laid.append((run.backbone, run.variant.stride, run.settings["options"][:1]))
        return Result(run.task.name, run.backbone, 1.0, 1.0, (), run.variant)

    monkeypatch.setattr(comparison, "execute", execute)
    run_suite(
        [fine],
        suite="scenes",
        out=tmp_path,
        names=["classification"],
        strides=["as-pretrained", "32"],
        command="command",
    )
    option = ["model.backbone.output_stride=16"]
    twin = f"random:{fine}"
    assert laid == [(fine, 16, option), (twin, 16, option), (fine, 32, []), (twin, 32, [])]
    assert "| stride 16 |" in (tmp_path / "report.md").read_text()
