from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.vision_language.data import open_labelled
from benchmarks.vision_language.outcome import EvaluationConfig, Outcome, file_name
from benchmarks.vision_language.report import make_section
from benchmarks.vision_language.suite import run_evaluations
from benchmarks.vision_language.tasks import Regions, Retrieval, Segmentation, ZeroShot, suite
from cmid.data.segmentation import SegmentationFolder
from cmid.data.writing import write_image
from cmid.reporting import markdown_table
from tests.evaluation.image_text_model import COLOURS, ColourCLIP, coloured

LIST = "red\ngreen,grass\nblue\n"


def write(path: Path, pixels: torch.Tensor) -> None:
    write_image(path, np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Colours as classes, with captions, masks and boxes."""
    root = tmp_path / "data"
    rows, content = ["filepath,caption,split"], {"images": [], "annotations": []}
    for number, name in enumerate(COLOURS):
        for copy in range(2):
            path = f"{name.title()}Square/{copy}.png"
            write(root / "classes" / path, coloured(name))
            rows.append(f"{path},{name} {copy},{'test' if copy else 'train'}")
        pair = torch.cat([coloured(name, 24, 24), coloured("red", 24, 24)], dim=2)
        write(root / "masks/img_dir" / f"{number}.png", pair)
        mask = np.full((24, 48), number + 1, np.uint8)
        mask[:, 24:], mask[:2] = 1, 0
        write_image(root / "masks/ann_dir" / f"{number}.png", mask)
        image = {"id": number, "file_name": f"{number}.png", "width": 48, "height": 24}
        content["images"].append(image)
        for place, category in enumerate((number, 0)):
            box = {"id": 2 * number + place, "image_id": number, "category_id": category}
            bbox = {"bbox": [24 * place, 0, 24, 24], "area": 576, "iscrowd": 0}
            content["annotations"].append(box | bbox)
    content["categories"] = [{"id": k, "name": name} for k, name in enumerate(COLOURS)]
    (root / "captions.csv").write_text("\n".join(rows))
    (root / "boxes.json").write_text(json.dumps(content))
    (root / "list.txt").write_text(LIST)
    return root


def evaluations(root: Path) -> list:
    return [
        ZeroShot(str(root / "classes")),
        Retrieval(str(root / "captions.csv"), images=str(root / "classes"), split="test"),
        Segmentation(str(root / "reduced"), str(root / "list.txt"), "red", templates="plain"),
        Regions(str(root / "boxes.json"), str(root / "masks/img_dir")),
    ]


def reduce(root: Path) -> None:
    """Masks of 0 to 2 beside those of 1 to 3."""
    (root / "reduced").mkdir()
    (root / "reduced/img_dir").symlink_to(root / "masks/img_dir")
    for path in (root / "masks/ann_dir").iterdir():
        mask = np.array(Image.open(path))
        reduced = np.where(mask == 0, 255, mask - 1).astype(np.uint8)
        write_image(root / "reduced/ann_dir" / path.name, reduced)


def test_all_tasks_give_one_report_with_pictures(data: Path, tmp_path: Path) -> None:
    reduce(data)
    out = tmp_path / "out"
    names = ["<colours>", "inverted"]

    def load(name: str) -> ColourCLIP:
        model = ColourCLIP()
        if name == "inverted":
            with torch.no_grad():  # images of a colour lie far from its name
                model.mix.bias.zero_()
            encode = model.encode_texts
            model.encode_texts = lambda texts: -encode(texts)  # type: ignore[method-assign]
            model.digest = "inverted"
        return model

    missing = ZeroShot(str(data / "nothing"))
    table = run_evaluations(
        [*evaluations(data), missing],
        names,
        load=load,
        options=EvaluationConfig(out=out, pictures=2, cache=tmp_path / "cache", batch_size=4),
        skip_missing=True,
        command="python tools/evaluate_clip.py",
    )
    assert "| top-1 | **100.0** |" in table
    assert "left out: 1 of 5" in table
    results = json.loads((out / "results.json").read_text())
    assert [entry["task"].split()[0] for entry in results["evaluations"]] == [
        "zero-shot",
        "image-text",
        "open-vocabulary",
        "region",
    ]
    scores = [entry["models"]["<colours>"]["measures"] for entry in results["evaluations"]]
    assert scores[1]["mean"] == 1
    assert scores[2]["mIoU"] > 0.9
    assert {"mIoU, held-out half", "mIoU, held-out half, tuned threshold"} <= scores[2].keys()
    assert scores[3]["accuracy, CLS of crop"] == scores[3]["accuracy, RoI pooling"] == 1
    other = [entry["models"]["inverted"]["measures"] for entry in results["evaluations"]]
    assert other[0]["top-1"] == 0
    pictures = sorted((out / "pictures").rglob("*.png"))
    assert len(pictures) == 4
    page, text = (out / "report.html").read_text(), (out / "report.md").read_text()
    for picture in pictures:
        assert f'src="{picture.relative_to(out)}"' in page
        assert f"({picture.relative_to(out)})" in text
    assert "<colours>" not in page
    assert "nothing does not exist" in page
    assert "nothing does not exist" in text
    assert not [*out.glob(".*")]


def test_missing_data_is_an_error_unless_it_may_be_left_out(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = Regions(str(data / "boxes.json"), str(data / "nothing"))
    with pytest.raises(FileNotFoundError, match=r"region classification: .*nothing does not"):
        run_evaluations([missing], ["a"], load=lambda name: ColourCLIP())
    with pytest.raises(FileNotFoundError, match="data of all 1 evaluations is missing"):
        run_evaluations([missing], ["a"], load=lambda name: ColourCLIP(), skip_missing=True)
    assert "LEFT OUT: region classification" in capsys.readouterr().err
    with pytest.raises(ValueError, match="have one name"):
        run_evaluations([missing], ["a/b", "a:b"], load=lambda name: ColourCLIP())


def test_an_evaluation_that_fails_costs_no_other_its_scores(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = evaluations(data)[0]
    (data / "short.txt").write_text("one\n")
    bad = ZeroShot(str(data / "classes"), names=str(data / "short.txt"), templates="plain")

    def load(name: str) -> ColourCLIP:
        if name == "gone":
            raise FileNotFoundError("no model gone")
        return ColourCLIP()

    options = EvaluationConfig(out=tmp_path / "out", batch_size=4)
    table = run_evaluations([bad, good], ["gone", "a"], load=load, options=options)
    assert "| top-1 | 100.0 |" in table
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert [[*entry["models"]] for entry in results["evaluations"]] == [["a"]]
    assert results["left_out"][0] == "gone: no model gone"
    assert "short.txt has 1 names for 3 classes" in results["left_out"][1]
    assert capsys.readouterr().err.count("LEFT OUT: ") == 2
    with pytest.raises(ValueError, match="has 1 names for 3 classes"):
        run_evaluations([bad], ["a"], load=load)


def test_labels_from_one_are_shifted(data: Path) -> None:
    masks = SegmentationFolder(data / "masks", num_classes=3, zero_ignored=True)
    mask = masks[2][1]
    assert mask.dtype == torch.uint8
    assert mask[0].tolist() == [255] * 48
    assert mask[5].tolist() == [2] * 24 + [0] * 24
    plain = SegmentationFolder(data / "masks", num_classes=4)
    assert plain[2][1][5].tolist() == [3] * 24 + [1] * 24


def test_a_split_file_chooses_images(data: Path) -> None:
    entries = [
        {"image": "classes/RedSquare/0.png", "split": "test"},
        {"image": "classes/BlueSquare/1.png", "split": "test"},
        {"image": "classes/BlueSquare/0.png", "split": "train"},
    ]
    path = data / "split.jsonl"
    path.write_text("\n".join(json.dumps(entry) for entry in entries))
    source = open_labelled(str(data / "classes"), split_file=str(path))
    names = [Path(source.read(k).name).relative_to(data / "classes") for k in range(len(source))]
    assert [str(name) for name in names] == ["BlueSquare/1.png", "RedSquare/0.png"]
    assert source.classes == ("BlueSquare", "GreenSquare", "RedSquare")
    with pytest.raises(ValueError, match=r"names no image of .* in the split val"):
        open_labelled(str(data / "classes"), split_file=str(path), split="val")


def test_a_section_marks_the_best_and_shows_chance(tmp_path: Path) -> None:
    outcomes = {
        "a": Outcome(
            {"top-1": 0.5, "top-5": 1.0}, "ten images", ("accuracy", {"sea": 0.25}), {"top-1": 0.1}
        ),
        "b": Outcome(
            {"top-1": 0.4, "top-5": 1.0}, "ten images", ("accuracy", {"sea": float("nan")})
        ),
    }
    section = make_section(ZeroShot("x"), outcomes, out=tmp_path)
    assert section.facts == ("ten images",)
    assert markdown_table(section.tables[0]).splitlines()[2:] == [
        "| top-1 | **50.0** | 40.0 | 10.0 |",
        "| top-5 | 100.0 | 100.0 | - |",
    ]
    assert markdown_table(section.tables[1]).splitlines()[2:] == ["| sea | 25.0 | - |"]


def test_suites_name_their_tasks_and_data() -> None:
    scenes, real = suite("scenes"), suite("real", "somewhere")
    assert not [path for evaluation in scenes for path in evaluation.needs()]
    assert [evaluation.task for evaluation in real].count("open-vocabulary segmentation") == 4
    assert all(p.startswith("somewhere") for evaluation in real for p in evaluation.needs())
    with pytest.raises(ValueError, match="no suite 'other'"):
        suite("other")


def test_the_real_suite_finds_its_data(shared_data: Path) -> None:
    needed = [path for e in suite("real", str(shared_data)) for path in e.needs()]
    assert not [path for path in needed if not Path(path).exists()]


def test_names_of_models_become_names_of_files() -> None:
    assert file_name("runs/a/clip") == "runs_a_clip"
    assert file_name("ViT-B-32:openai") == "ViT-B-32_openai"
