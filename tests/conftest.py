"""What all tests share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


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
