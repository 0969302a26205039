"""Folders and names of models of Hugging Face that are refused before anyone looks for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cmid.checkpoints.hugging_face import check_gguf, check_model, check_tokenizer


@pytest.mark.parametrize("name", ["gpt2", "Qwen/Qwen2.5-VL-7B-Instruct", "a_b/c.d"])
def test_names_of_the_hub_pass(name: str) -> None:
    assert check_model(name) == check_tokenizer(name) == name


@pytest.mark.parametrize(
    "name", ["runs/stage1/model", "runs/nope", "./model", "/model", "tiny:llama", "a/"]
)
def test_what_neither_lies_there_nor_can_be_on_the_hub_is_named(name: str) -> None:
    for check in (check_model, check_tokenizer):
        with pytest.raises(FileNotFoundError, match=f"no model {name}: give a folder"):
            check(name)


def test_a_path_within_a_folder_that_is_here_is_no_name_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for check in (check_model, check_tokenizer):
        assert check("models/llama") == "models/llama"
    (tmp_path / "models").mkdir()
    remedy = r"no model models/llama: models is a folder here, .* --local-dir models/llama"
    for check in (check_model, check_tokenizer):
        with pytest.raises(FileNotFoundError, match=remedy):
            check("models/llama")


def test_folders_of_something_else_are_named(tmp_path: Path) -> None:
    for check in (check_model, check_tokenizer):
        with pytest.raises(FileNotFoundError, match=r"it has no .*config\.json"):
            check(str(tmp_path))
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"multimodal": 1}))
    with pytest.raises(ValueError, match=r"config\.json names no model_type"):
        check_model(str(tmp_path))
    config.write_text(json.dumps({"model_type": "llama"}))
    assert check_model(str(tmp_path)) == str(tmp_path)


def test_the_folder_of_an_adapter_passes(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    assert check_model(str(tmp_path)) == str(tmp_path)


def test_a_gguf_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no model .*a\.gguf: there is no such file"):
        check_gguf(tmp_path / "a.gguf")
    (tmp_path / "a.gguf").touch()
    assert check_gguf(tmp_path / "a.gguf") == tmp_path / "a.gguf"
