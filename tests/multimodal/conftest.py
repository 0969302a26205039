"""Reference values of LHRS-Bot's parts, and a small model of the same build."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

TEXTS = [
    "Is there a ship?",
    "yes",
    "no",
    "How many planes are there?",
    "2",
    "a harbour",
    "cars",
] * 4


@pytest.fixture(scope="session")
def lhrs(root: Path) -> dict[str, Tensor]:
    """Outputs of the published code, or of the formulas of the papers, with their inputs."""
    from safetensors.torch import load_file

    return load_file(root / "tests/data/lhrs.safetensors")


@pytest.fixture(scope="session")
def templates(root: Path) -> dict[str, Any]:
    """Texts that the published conversation code writes."""
    return json.loads((root / "tests/data/lhrs_templates.json").read_text())


@pytest.fixture(scope="session")
def part(lhrs: dict[str, Tensor]) -> Callable[[str], dict[str, Tensor]]:
    """All reference values whose names begin alike, by the rest of their names."""

    def select(start: str) -> dict[str, Tensor]:
        return {k.removeprefix(start): v for k, v in lhrs.items() if k.startswith(start)}

    return select


@pytest.fixture
def small() -> Callable[..., Any]:
    """Builds a small model whose answers depend on the image."""
    pytest.importorskip("transformers", reason="extra multimodal is not installed")
    from cmid.multimodal.building import MultimodalConfig, build_model
    from cmid.multimodal.language import LanguageConfig
    from cmid.multimodal.perceiver import PerceiverConfig
    from cmid.multimodal.tower import TowerConfig

    def build(name: str = "tiny:llama:64x2", **changes: Any) -> Any:
        language = LanguageConfig(name=name, **changes.pop("language", {}))
        perceiver = {"width": 32, "heads": 4, "layers": 2, "positions": "keys_and_values"}
        perceiver |= changes.pop("perceiver", {})
        config = MultimodalConfig(
            tower=TowerConfig("random:test_resnet", size=32, **changes.pop("tower", {})),
            perceiver=PerceiverConfig(queries=(6, 4, 2), **perceiver),
            language=language,
            **changes,
        )
        model = build_model(config, texts=TEXTS)
        with torch.no_grad():
            # As drawn, visual tokens are near zero.
            model.perceiver.output.weight.mul_(40)
        return model

    return build


@pytest.fixture(scope="session")
def pictures() -> list[Tensor]:
    """Random images of several sizes and colours."""
    generator = torch.Generator().manual_seed(3)
    return [
        torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator).bitwise_and(bits)
        for size, bits in (((40, 50), 15), ((32, 32), 63), ((70, 33), 127), ((64, 64), 255))
    ]
