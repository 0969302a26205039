"""The command of maps: what it writes, what it refuses, and how it goes on."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cmid.checkpoints import load_backbone
from cmid.data.windows import Window
from cmid.inference.embeddings import EmbeddingModel
from cmid.inference.tiles import TileGrid
from tests.inference.test_maps import noise, stitched, write
from tests.integration import in_process

rasterio = pytest.importorskip("rasterio")
from cmid.inference.scenes import Scene  # noqa: E402

MAP = ("tools/map.py", "random:test_resnet", "--tile", "64")


@pytest.mark.parametrize("form", ["float16", "int8"])
def test_the_command_maps_a_part_where_it_lies(tmp_path, form):
    scene = write(tmp_path / "a.tif", noise(200, 260))
    bounds = ("500400", "4998400", "502000", "4999600")  # 160 x 120 pixels from (40, 40)
    outcome = in_process.run(
        "tools/map.py", "random:test_resnet", scene, "--out", tmp_path / "maps", "--form", form,
        "--tile", "96", "--bounds", *bounds, "--picture",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    cells = np.array(Image.open(tmp_path / "maps/embeddings.png"))
    assert (cells[..., 3] == 255).all()
    assert len(np.unique(cells[..., :3].reshape(-1, 3), axis=0)) > 10
    model = EmbeddingModel(load_backbone("random:test_resnet"))
    with rasterio.open(tmp_path / "maps/embeddings.tif") as file:
        assert file.bounds[0] == 500_400
        assert file.bounds[3] == 4_999_600
        assert file.transform.a == 10 * model.stride
        assert file.count == model.channels
        found = file.read() * np.array(file.scales)[:, None, None]
    part = Window(40, 40, 120, 160)
    halo = 96 // 8 // model.stride * model.stride
    fading = halo or model.stride
    grid = TileGrid(height=120, width=160, size=96, halo=halo, overlap=fading, stride=model.stride)
    wanted = stitched(model, Scene(scene), grid, part)
    tolerance = 1e-3 if form == "float16" else 1.2 / 127
    assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()


def test_another_scene_does_not_overwrite_a_map(tmp_path):
    first, other = (write(tmp_path / f"{name}.tif", noise(64, 64)) for name in "ab")
    out = tmp_path / "maps"
    command = ["tools/map.py", "random:test_resnet", "--out", out, "--tile", "64"]
    for _ in range(2):  # the same scene again is the same map
        done = in_process.run(*command, first)
        assert not done.status, done.err
    before = (out / "embeddings.tif").read_bytes()
    refused = in_process.run(*command, other)
    assert refused.status
    assert f"is a map of {first}: give another --out" in refused.err.splitlines()[-1]
    assert (out / "embeddings.tif").read_bytes() == before
    (out / "embeddings.tif").write_bytes(other.read_bytes())
    assert "embeddings.tif is no map: give another" in in_process.run(*command, first).err
    assert [path.name for path in out.iterdir()] == ["embeddings.tif"]


def test_another_scene_does_not_overwrite_vectors(tmp_path):
    pytest.importorskip("pyogrio")
    first, other = (write(tmp_path / f"{name}.tif", noise(64, 64)) for name in "ab")
    out = tmp_path / "maps"
    command = [*MAP, "--vectors", "--out", out]
    for _ in range(2):
        done = in_process.run(*command, first)
        assert not done.status, done.err
        (out / "embeddings.tif").unlink()
    before = (out / "embeddings.parquet").read_bytes()
    refused = in_process.run(*command, other)
    assert f"embeddings.parquet is a map of {first}: give" in refused.err.splitlines()[-1]
    assert (out / "embeddings.parquet").read_bytes() == before
    assert [path.name for path in out.iterdir()] == ["embeddings.parquet"]


def test_vectors_that_were_interrupted_cost_no_second_look_at_the_scene(tmp_path, monkeypatch):
    pytest.importorskip("pyogrio")
    scene = write(tmp_path / "a.tif", noise(64, 64))
    command = [*MAP, scene, "--vectors", "--picture", "--out", tmp_path / "maps"]

    def stop(*_: object, **__: object) -> None:
        raise OSError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr("cmid.inference.embeddings.write_features", stop)
        assert "stopped" in in_process.run(*command).err
    monkeypatch.setattr(EmbeddingModel, "__call__", stop)
    done = in_process.run(*command, "--resume")
    assert not done.status, done.err
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == [
        "embeddings.parquet",
        "embeddings.png",
        "embeddings.tif",
    ]


@pytest.mark.parametrize("value", [0, 9])
def test_a_map_of_nothing_or_of_one_cell_has_a_picture(tmp_path, value):
    scene = write(tmp_path / "a.tif", np.full((3, 8, 8), value, dtype="uint8"), nodata=0)
    done = in_process.run(*MAP, scene, "--picture", "--out", tmp_path / "maps")
    assert not done.status, done.err
    pixels = np.array(Image.open(tmp_path / "maps/embeddings.png"))
    assert (pixels == ([128, 128, 128, 255] if value else [0, 0, 0, 0])).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--bands", "9"], "bands asks for 9"),
        (["--bounds", "0", "0", "10", "10"], "lies outside the scene"),
        (["--nodata", "-9999"], "nodata -9999 is no number of uint8"),
        (["--nodata", "0.5"], "nodata 0.5 is no number of uint8"),
        (["--tile", "70"], "must be multiples of the model's stride"),
        (["--mask", "gone.gpkg"], "no file gone.gpkg"),
        (["--vectors", "--phrase", "a"], "--vectors are embeddings"),
        (["--bands", "1", "2", "--sensor", "gone.json"], "no file gone.json"),
        (["--window", "0", "0", "9", "9", "--bounds", "0", "0", "1", "1"], "give one"),
        (["--checkpoint", "a.pth"], "needs --checkpoint, a backbone has none"),
    ],
)
def test_what_makes_no_sense_is_one_line(tmp_path, options, said):
    scene = write(tmp_path / "a.tif", noise(100, 100))
    command = ["tools/map.py", "random:test_resnet", scene, "--out", tmp_path / "maps"]
    outcome = in_process.run(*command, *options)
    assert outcome.status
    assert said in outcome.err.splitlines()[-1]
    assert not (tmp_path / "maps/embeddings.tif").exists()
