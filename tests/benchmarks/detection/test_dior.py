from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.detection.coco import check_coco
from benchmarks.detection.dior import DIOR_CLASSES, convert_dior

HORIZONTAL = """<annotation><size><width>800</width><height>800</height></size>
<object><name>Expressway-Service-area</name>
<bndbox><xmin>10</xmin><ymin>20</ymin><xmax>50</xmax><ymax>80</ymax></bndbox></object>
<object><name>ship</name>
<bndbox><xmin>10</xmin><ymin>20</ymin><xmax>10</xmax><ymax>80</ymax></bndbox></object>
</annotation>"""
ORIENTED = """<annotation><size><width>800</width><height>800</height></size>
<object><name>ship</name><robndbox>
<x_left_top>20</x_left_top><y_left_top>10</y_left_top>
<x_right_top>40</x_right_top><y_right_top>30</y_right_top>
<x_right_bottom>30</x_right_bottom><y_right_bottom>40</y_right_bottom>
<x_left_bottom>10</x_left_bottom><y_left_bottom>20</y_left_bottom>
</robndbox></object></annotation>"""
BOXES = ("Horizontal Bounding Boxes", "Oriented Bounding Boxes")


@pytest.fixture
def dior(tmp_path: Path) -> Path:
    root = tmp_path / "dior"
    for part, name in (("train", "00001"), ("val", "00002"), ("test", "11726")):
        images = root / ("JPEGImages-test" if part == "test" else "JPEGImages-trainval")
        for folder in (images, root / "ImageSets/Main", *(root / "Annotations" / b for b in BOXES)):
            folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (800, 800)).save(images / f"{name}.jpg")
        (root / "ImageSets/Main" / f"{part}.txt").write_text(f"{name}\n")
        for folder, text in zip(BOXES, (HORIZONTAL, ORIENTED), strict=True):
            (root / "Annotations" / folder / f"{name}.xml").write_text(text)
    return root


def test_both_kinds_of_boxes_become_cocos_form(dior: Path) -> None:
    counts = convert_dior(dior, dior / "coco")
    assert list(counts) == [
        f"{kind}_{part}" for part in ("trainval", "test") for kind in ("horizontal", "oriented")
    ]
    assert counts["horizontal_trainval"].images == 2
    assert counts["horizontal_trainval"].objects == {"expressway-service-area": 2}
    assert counts["horizontal_trainval"].degenerate == 2
    assert "2 boxes without an area left out" in str(counts["horizontal_trainval"])
    content = json.loads((dior / "coco/horizontal_test.json").read_text())
    (image,) = content["images"]
    assert image == {
        "id": 0,
        "file_name": "JPEGImages-test/11726.jpg",
        "width": 800,
        "height": 800,
    }
    (annotation,) = content["annotations"]
    assert annotation["bbox"] == [10, 20, 40, 60]
    assert content["categories"][annotation["category_id"]]["name"] == "expressway-service-area"
    (annotation,) = json.loads((dior / "coco/oriented_test.json").read_text())["annotations"]
    assert annotation["bbox"] == [10, 10, 30, 30]
    assert annotation["segmentation"] == [[20, 10, 40, 30, 30, 40, 10, 20]]
    assert annotation["area"] == 400
    for name in counts:
        path = dior / "coco" / f"{name}.json"
        check_coco(path, dior, classes=DIOR_CLASSES, polygons=name.startswith("oriented"))


def test_bad_input_is_named(dior: Path, tmp_path: Path) -> None:
    path = dior / "Annotations" / BOXES[0] / "00002.xml"
    path.write_text(HORIZONTAL.replace("ship", "boat"))
    with pytest.raises(ValueError, match=r"00002.xml: no class of DIOR: 'boat'"):
        convert_dior(dior, dior / "coco")
    path.write_text(HORIZONTAL.replace("<xmin>10</xmin>", "<xmin>nan</xmin>"))
    with pytest.raises(ValueError, match=r"00002.xml: object has no number bndbox/xmin"):
        convert_dior(dior, dior / "coco")
    path.write_text("<annotation>")
    with pytest.raises(ValueError, match=r"00002.xml is not XML"):
        convert_dior(dior, dior / "coco")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"no annotation .*00002.xml"):
        convert_dior(dior, dior / "coco")
    (dior / "JPEGImages-trainval/00001.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"no image 00001.jpg"):
        convert_dior(dior, dior / "coco")
    assert not (dior / "coco").exists()
    with pytest.raises(FileNotFoundError, match="Annotations has none"):
        convert_dior(tmp_path, tmp_path / "coco")
