from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch

from cmid.export import to_onnx
from cmid.models import MaskedEncoder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "args"),
    [
        ("resnet18", 64, {}),
        ("swin_tiny_patch4_window7_224", 224, {"depths": (2, 2, 2, 2), "embed_dim": 24}),
        ("vit_tiny_patch16_224", 64, {}),
    ],
    ids=["resnet", "swin", "vit"],
)
def test_onnx_gives_the_features_for_any_batch(
    name: str, size: int, args: dict[str, Any], tmp_path: Path
) -> None:
    encoder = MaskedEncoder(name, img_size=size, **args)
    path = to_onnx(encoder, tmp_path / "encoder.onnx")
    assert encoder.training
    encoder.eval()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for batch in (1, 5):
        images = torch.randn(batch, 3, size, size)
        pooled, dense = session.run(["pooled", "dense"], {"images": images.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(
                torch.from_numpy(pooled), encoder.pooled(images), rtol=1e-3, atol=1e-4
            )
            torch.testing.assert_close(
                torch.from_numpy(dense), encoder(images), rtol=1e-3, atol=1e-4
            )
    assert [p.name for p in tmp_path.iterdir()] == ["encoder.onnx"]


def test_the_extra_is_named_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"pip install 'cmid\[onnx\]'"):
        to_onnx(MaskedEncoder("resnet18", img_size=32), tmp_path / "encoder.onnx")
    assert list(tmp_path.iterdir()) == []
