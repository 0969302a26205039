"""Encoders as ONNX files, and as torchvision's weights."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cmid.files import whole_file
from cmid.models.encoder import MaskedEncoder
from cmid.models.evaluating import evaluating

_TORCHVISION = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")


class _Outputs(nn.Module):
    """Pooled and dense features, the two outputs of an exported file."""

    def __init__(self, encoder: MaskedEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        dense = self.encoder(images)
        return self.encoder.pool(dense), dense


def to_onnx(
    encoder: MaskedEncoder, path: str | Path, *, opset: int = 18, tolerance: float = 1e-4
) -> Path:
    """Write an encoder as ONNX: complete and checked, or not at all.

    The file takes ``images`` ``(B, C, S, S)``, float32 and standardised, for any B and the size S
    of the encoder, and gives ``pooled`` ``(B, D)`` and ``dense`` ``(B, D, N, N)``. It holds the
    weights.

    Args:
        encoder: encoder to export; its mode is left as it was.
        path: file to write; replaced if it exists.
        opset: ONNX operator set version.
        tolerance: largest difference allowed between onnxruntime and torch, relative to the largest
            feature.

    Raises:
        ImportError: the packages of the extra ``onnx`` are missing.
        FloatingPointError: onnxruntime computes something else than torch.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  (torch.onnx needs it)
    except ImportError as error:
        raise ImportError("ONNX export needs: pip install 'cmid[onnx]'") from error
    path = Path(path)
    size = encoder.img_size
    images = torch.randn(
        2, encoder.in_chans, size, size, generator=torch.Generator().manual_seed(0)
    )
    model = _Outputs(encoder)
    with evaluating(model), whole_file(path) as partial:
        program = torch.onnx.export(
            model,
            (images,),
            dynamo=True,
            opset_version=opset,
            input_names=["images"],
            output_names=["pooled", "dense"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            verbose=False,
        )
        program.save(str(partial), external_data=False)  # type: ignore[union-attr]
        session = onnxruntime.InferenceSession(str(partial), providers=["CPUExecutionProvider"])
        _check(model, session, torch.cat([images, images[:1]]), tolerance)
    return path


@torch.no_grad()
def _check(model: nn.Module, session: object, images: Tensor, tolerance: float) -> None:
    """Compare on another batch size than the one that was traced."""
    outputs = session.run(None, {"images": images.numpy()})  # type: ignore[attr-defined]
    for name, ours, theirs in zip(("pooled", "dense"), model(images), outputs, strict=True):
        difference = float((ours - torch.from_numpy(theirs)).abs().max() / ours.abs().max())
        if difference > tolerance:
            raise FloatingPointError(
                f"onnxruntime differs from torch by {difference:.2g} in {name}"
            )


def to_torchvision(encoder: MaskedEncoder, path: str | Path) -> Path:
    """Write a ResNet's weights by torchvision's names, as safetensors, without a classifier.

    Raises:
        ValueError: not one of the ResNets that torchvision has with three bands.

    Example:
        >>> model.load_state_dict(load_file("resnet50.safetensors"), strict=False)  # doctest: +SKIP
    """
    name = encoder.name.partition(".")[0]
    if name not in _TORCHVISION or encoder.in_chans != 3:
        raise ValueError(
            f"{name} with {encoder.in_chans} bands is no ResNet of torchvision; it has"
            f" {', '.join(_TORCHVISION)} with 3"
        )
    path = Path(path)
    weights = {n: t.detach().cpu().contiguous() for n, t in encoder.backbone.state_dict().items()}
    with whole_file(path) as partial:
        save_file(weights, partial, metadata={"format": "pt"})
    return path
