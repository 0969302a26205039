"""What all tests share."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first: one at the end would leave the other processes idle."""
    weights: Counter[Path] = Counter()
    for item in items:
        weights[item.path] += 20 if item.get_closest_marker("slow") else 1
    items.sort(key=lambda item: -weights[item.path])


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real imagery beside the repository; tests that need it skip where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real imagery beside the repository")
    return folder


@pytest.fixture(scope="session")
def golden() -> dict[str, torch.Tensor]:
    """Reference values of the losses, computed with independent code."""
    from safetensors.torch import load_file

    return load_file(ROOT / "tests" / "data" / "cmid.safetensors")


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of a small model configuration of open_clip's form, for images of 32 pixels."""
    return _write_clip(tmp_path_factory.mktemp("clip") / "tiny_clip.json", size=32)


@pytest.fixture(scope="session")
def tiny_clip_64(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same for images of 64 pixels."""
    return _write_clip(tmp_path_factory.mktemp("clip") / "tiny_clip_64.json", size=64)


def _write_clip(path: Path, *, size: int) -> str:
    vision = {"image_size": size, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    path.write_text(json.dumps({"embed_dim": 32, "vision_cfg": vision, "text_cfg": text}))
    return str(path)
