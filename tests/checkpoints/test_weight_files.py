"""Files of weights: what beside weights is harmless, what is refused and how that is said."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric.utilities.data import AttributeDict
from safetensors.torch import save_file

from cmid.checkpoints.weight_files import open_weights


def test_plain_values_beside_weights_are_read(tmp_path: Path) -> None:
    content = {
        "state_dict": {"w": torch.ones(2)},
        "args": argparse.Namespace(lr=0.1),
        "best": np.float64(0.5),
        "scores": np.arange(3, dtype=np.float32),
        "seed": np.int64(3),
        "path": tmp_path,
        "hyper_parameters": AttributeDict(lr=0.1, name="x"),
    }
    torch.save(content, tmp_path / "net.pth")
    read = open_weights(tmp_path / "net.pth")
    assert torch.equal(read["state_dict"]["w"], torch.ones(2))
    assert read["hyper_parameters"]["name"] == "x"
    assert read["best"] == 0.5
    assert read["scores"].tolist() == [0, 1, 2]


class Config(dict):  # as yacs and mmengine store theirs
    pass


class Dangerous:
    def __reduce__(self) -> Any:
        return print, ("this must never run",)


def test_what_torch_was_let_read_before_it_may_read_afterwards(tmp_path: Path) -> None:
    kind = type(np.dtype("float32"))
    with torch.serialization.safe_globals([kind]):
        torch.save({"weight": torch.ones(2)}, tmp_path / "a.pth")
        open_weights(tmp_path / "a.pth")
        assert kind in torch.serialization.get_safe_globals()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(("value", "name"), [(Config(), "Config"), (Dangerous(), "print")])
def test_classes_that_could_run_code_are_named_with_a_remedy(
    value: Any, name: str, zipped: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.pth"
    torch.save(
        {"model": {"w": torch.ones(2)}, "config": value},
        path,
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(
        ValueError, match=rf"net\.pth .*could run code.*{name}.*weights_only=False"
    ) as error:
        open_weights(path)
    assert "\n" not in str(error.value)
    assert capsys.readouterr().out == ""


def test_old_files_without_a_zip_archive_are_read(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2)}, tmp_path / "a.tar", _use_new_zipfile_serialization=False)
    assert torch.equal(open_weights(tmp_path / "a.tar")["w"], torch.ones(2))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"", "truncated"),
        (b"\x80\x02}q", "truncated"),
    ],
)
@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_files_that_are_something_else_say_so(
    content: bytes, reason: str, name: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} is not? .*{reason}|{name} is no .*") as error:
        open_weights(tmp_path / name)
    assert "\n" not in str(error.value)


def sharded(folder: Path, *, pickled: bool) -> Path:
    ending = "bin" if pickled else "safetensors"
    parts = {
        f"model-0000{i}-of-00002.{ending}": {f"layer{i}.w": torch.full((2,), i)} for i in (1, 2)
    }
    for name, weights in parts.items():
        if pickled:
            torch.save(weights, folder / name)
        else:
            save_file(weights, folder / name)
    index = folder / f"model.{ending}.index.json"
    where = {weight: name for name, weights in parts.items() for weight in weights}
    index.write_text(json.dumps({"metadata": {"total_size": 16}, "weight_map": where}))
    return index


@pytest.mark.parametrize("pickled", [True, False])
def test_sharded_files_are_read_by_their_index(pickled: bool, tmp_path: Path) -> None:
    index = sharded(tmp_path, pickled=pickled)
    assert {name: int(w[0]) for name, w in open_weights(index).items()} == {
        "layer1.w": 1,
        "layer2.w": 2,
    }


def test_an_incomplete_sharded_file_names_what_is_missing(tmp_path: Path) -> None:
    index = sharded(tmp_path, pickled=False)
    part = tmp_path / "model-00002-of-00002.safetensors"
    save_file({"other": torch.ones(1)}, part)
    with pytest.raises(ValueError, match=r"lack 1 of the weights it names, first layer2\.w"):
        open_weights(index)
    part.unlink()
    with pytest.raises(FileNotFoundError, match=r"names 2 files, of which 1 are not .*model-00002"):
        open_weights(index)
    index.write_text("{}")
    with pytest.raises(ValueError, match="is no index of a sharded checkpoint"):
        open_weights(index)
