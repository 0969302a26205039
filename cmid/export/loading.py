"""Frozen backbones by name: exports, checkpoints, published and untrained timm models."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from cmid.data.statistics import ChannelStatistics
from cmid.export.published import describe, is_published, read_published, standardisation
from cmid.export.timm_folder import load_encoder, read_checkpoint, read_config
from cmid.models.encoder import MaskedEncoder
from cmid.models.heads import ReconstructionHead
from cmid.views.colour import Standardize

ACCEPTED = (
    "an exported folder, a checkpoint (.ckpt), a published file of weights (.pth, .safetensors),"
    " 'random:NAME' for an untrained timm model, or a timm name for its published weights"
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Backbone:
    """An encoder in evaluation mode with what it needs to read images.

    Attributes:
        name: how it was asked for.
        encoder: ``(B, C, H, W)`` standardised images to ``(B, D, N, M)``; its ``pooled`` gives the
            features that the exported timm model returns.
        standardize: from stored values to the encoder's input.
        digest: hash of architecture, weights and standardisation, a key for cached features.
    """

    name: str
    encoder: MaskedEncoder
    standardize: Standardize
    digest: str

    @property
    def size(self) -> int:
        """Pixels per side that it was trained with."""
        return self.encoder.img_size

    def to(self, device: str | torch.device) -> Backbone:
        """Move it, in place."""
        self.encoder.to(device)
        self.standardize.to(device)
        return self


def load_backbone(
    spec: str,
    *,
    img_size: int | None = None,
    in_chans: int = 3,
    which: str | None = None,
    seed: int = 0,
    **model_args: Any,
) -> Backbone:
    """Load a backbone for evaluation.

    Args:
        spec: `ACCEPTED` says what there is; ``local-dir:FOLDER`` and ``timm:NAME`` say it
            explicitly. Published weights of a timm name are downloaded by timm.
        img_size: pixels per side that timm models are laid out for; exports and files keep their
            own.
        in_chans: channels of timm models; exports keep their own.
        which: role of the encoder in a checkpoint; default the one that its method exports.
        seed: of untrained weights.
        **model_args: further arguments of ``timm.create_model`` (``drop_path_rate``).

    Raises:
        FileNotFoundError: no such export or checkpoint.
        ValueError: unknown name, or a file or folder that is no backbone.
    """
    path = Path(spec.removeprefix("local-dir:"))
    if path.is_dir():
        encoder = load_encoder(path, **model_args)
        statistics = exported_statistics(path)
    elif path.suffix == ".ckpt" or path.is_file():
        encoder, statistics = _from_file(path, which, **model_args)
    elif spec.startswith("local-dir:") or len(path.parts) > 1 or path.suffix == ".safetensors":
        raise FileNotFoundError(f"no backbone {spec}: give {ACCEPTED}")
    else:
        encoder = _timm_model(spec, seed=seed, img_size=img_size, in_chans=in_chans, **model_args)
        statistics = _timm_statistics(encoder)
    encoder.eval().requires_grad_(False)
    return Backbone(spec, encoder, Standardize(statistics), _digest(encoder, statistics))


def _from_file(
    path: Path, which: str | None, **model_args: Any
) -> tuple[MaskedEncoder, ChannelStatistics]:
    """The encoder of a checkpoint of ours or of a published file."""
    if not is_published(path):
        encoder, origin = read_checkpoint(path, which, **model_args)
        return encoder, statistics_of(origin)
    encoder, provenance = read_published(path, **model_args)
    # The evaluation would else not say which of several networks it is about.
    logger.log(
        logging.WARNING if provenance["others"] else logging.INFO, describe(encoder, provenance)
    )
    return encoder, statistics_of(standardisation(provenance, bands=encoder.in_chans))


def load_reconstruction(checkpoint: str | Path) -> tuple[Backbone, ReconstructionHead]:
    """The exported encoder of a checkpoint with its mask token, and its reconstruction head.

    Raises:
        FileNotFoundError, ValueError: as `read_checkpoint`; also a run without reconstruction.
    """
    encoder, origin = read_checkpoint(Path(checkpoint))
    weights = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["state_dict"]
    if not origin.get("weights", {}).get("reconstruction"):
        raise ValueError(f"{checkpoint} was trained without reconstruction")
    head = ReconstructionHead(
        encoder.embed_dim,
        encoder.stride,
        encoder.in_chans,
        relative=origin.get("relative_target", False),
    )
    prefix = "reconstruct."
    head.load_state_dict(
        {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    )
    encoder.mask_token.data.copy_(weights[origin["encoders"][origin["which"]] + "mask_token"])
    encoder.eval().requires_grad_(False)
    statistics = statistics_of(origin)
    backbone = Backbone(
        str(checkpoint), encoder, Standardize(statistics), _digest(encoder, statistics)
    )
    return backbone, head.eval().requires_grad_(False)


def _timm_model(spec: str, *, seed: int, **model_args: Any) -> MaskedEncoder:
    kind, _, name = spec.rpartition(":")
    if kind not in ("", "timm", "random"):
        raise ValueError(f"unknown backbone {spec!r}: give {ACCEPTED}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MaskedEncoder(name, pretrained=kind != "random", **model_args)


def exported_statistics(folder: Path) -> ChannelStatistics:
    """Statistics in the ``config.json`` of an export."""
    config = read_config(folder)
    recorded = ("low", "high", "kind")
    ranges = {key: config["cmid"][key] for key in recorded if key in config["cmid"]}
    return statistics_of(config["pretrained_cfg"] | ranges)


def _timm_statistics(encoder: MaskedEncoder) -> ChannelStatistics:
    known = encoder.backbone.pretrained_cfg
    if encoder.in_chans == len(known["mean"]):
        return statistics_of(known)
    # timm repeats the weights of a first convolution for other bands; so are the moments.
    count = range(encoder.in_chans)
    return statistics_of({k: [known[k][i % len(known[k])] for i in count] for k in ("mean", "std")})


def statistics_of(source: Mapping[str, Any]) -> ChannelStatistics:
    """Statistics from ``mean``, ``std`` and, of other than 8-bit images, ``low`` and ``high``.

    ``kind`` tells what the images' numbers mean; where it is missing, the range tells 8-bit ones.
    """
    bands = len(source["mean"])

    def of(key: str, default: float = 0.0) -> tuple[float, ...]:
        return tuple(float(value) for value in source.get(key, [default] * bands))

    made = ChannelStatistics(
        of("mean"), of("std"), of("low"), of("high", 255.0), kind=str(source.get("kind") or "")
    )
    return made if made.is_8bit else replace(made, dtype="float32")


def _digest(encoder: MaskedEncoder, statistics: ChannelStatistics) -> str:
    digest = hashlib.sha256(f"{encoder.name} {encoder.model_args} {statistics}".encode())
    for name, tensor in encoder.backbone.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
