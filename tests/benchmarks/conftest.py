"""What all tests of benchmarks share."""

from __future__ import annotations

import importlib.util

import pytest


@pytest.fixture(autouse=True)
def _unformatted_configurations(monkeypatch: pytest.MonkeyPatch) -> None:
    """mmengine writes a configuration several times a run, and beautifies it for seconds."""
    if importlib.util.find_spec("yapf"):
        monkeypatch.setattr("yapf.yapflib.yapf_api.FormatCode", lambda text, **_: (text, True))
