"""The command line of evaluate_clip: what it refuses before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.commands.evaluate_clip import main, parse_arguments
from benchmarks.vision_language.outcome import EvaluationConfig
from benchmarks.vision_language.suite import run_evaluations
from benchmarks.vision_language.tasks import Segmentation, ZeroShot
from tests.evaluation.image_text_model import ColourCLIP


@pytest.mark.parametrize(
    ("task", "option", "value", "limit"),
    [
        ("zero_shot", "--batch_size", "0", "whole number of 1 or more"),
        ("zero_shot", "--batch_size", "1.5", "whole number of 1 or more"),
        ("zero_shot", "--num_workers", "-1", "whole number of 0 or more"),
        ("zero_shot", "--pictures", "-1", "whole number of 0 or more"),
        ("zero_shot", "--scenes", "0", "whole number of 1 or more"),
        ("retrieval", "--scene_size", "8", "whole number of 16 or more"),
        ("segmentation", "--stride", "0", "whole number of 1 or more"),
        ("segmentation", "--long_side", "-5", "whole number of 1 or more"),
        ("segmentation", "--scale", "-1", "number of 0 or more"),
        ("segmentation", "--scale", "nan", "number of 0 or more"),
        ("segmentation", "--cls_weight", "much", "number of 0 or more"),
        ("segmentation", "--threshold", "1.5", "number from 0 to 1"),
    ],
)
def test_numbers_out_of_range_are_named(
    task: str, option: str, value: str, limit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        parse_arguments([task, "scenes", "--model", "m", f"{option}={value}"])
    assert end.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"argument {option}: {value!r} is not a {limit}" in said


def test_help_tells_what_the_modes_of_dense_features_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["segmentation", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "without residual and MLP but for maskclip_published and sclip_published" in said


def test_the_published_resizing_is_an_option() -> None:
    common = ["segmentation", "scenes", "--vocabulary", "scenes", "--model", "m"]
    for options, antialias in (([], True), (["--resize", "bilinear"], False)):
        chosen, *_ = parse_arguments([*common, *options])
        assert isinstance(chosen, Segmentation)
        assert chosen.settings.antialias is antialias


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there_is_named(device: str) -> None:
    with pytest.raises(SystemExit, match=f"--device {device}: there is no such device here"):
        main(["zero_shot", "scenes", "--model", "m", "--device", device])


def test_a_file_in_the_place_of_the_report_is_refused_before_any_work(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("")

    def load(name: str) -> ColourCLIP:
        raise AssertionError("a model was loaded")

    with pytest.raises(NotADirectoryError, match=r"the report's folder .*out is a file"):
        run_evaluations([ZeroShot("scenes")], ["m"], load=load, options=EvaluationConfig(out=out))


def test_scenes_need_their_own_list_of_classes_and_a_threshold_a_background() -> None:
    options = EvaluationConfig(scenes=1, scene_size=32)
    with pytest.raises(ValueError, match="scenes have 11 classes, roads 2: give --vocabulary"):
        Segmentation("scenes", "roads").run(ColourCLIP(), "m", options)
    with pytest.raises(ValueError, match="--threshold needs the class of unsure pixels"):
        Segmentation("scenes", "scenes", threshold=0.5).run(ColourCLIP(), "m", options)


def test_a_folder_of_one_class_is_told_from_one_without_labels(tmp_path: Path) -> None:
    from cmid.data.writing import write_image
    from tests.evaluation.image_text_model import coloured

    write_image(tmp_path / "reds/0.png", coloured("red").permute(1, 2, 0).contiguous().numpy())
    with pytest.raises(ValueError, match="has the class reds only: put the images of each class"):
        ZeroShot(str(tmp_path)).run(ColourCLIP(), "m", EvaluationConfig())
