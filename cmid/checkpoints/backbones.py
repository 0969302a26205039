"""Frozen backbones by name: exports, checkpoints, published and untrained timm models."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor

from cmid.checkpoints.exports import ExportedEncoder
from cmid.checkpoints.hub import HUB, hub_folder
from cmid.checkpoints.published import PublishedEncoder, describe
from cmid.checkpoints.runs import TrainedEncoder
from cmid.checkpoints.stored import StoredEncoder
from cmid.checkpoints.strict import below, load_strictly
from cmid.checkpoints.weight_files import open_weights
from cmid.data.statistics import ChannelStatistics
from cmid.models.encoder import MaskedEncoder, MaskMode, check_name
from cmid.models.heads import ReconstructionHead
from cmid.views.colour import Standardize

ACCEPTED = (
    "an exported folder, 'hf-hub:OWNER/NAME' for one of the Hugging Face hub, a checkpoint (.ckpt),"
    " a published file of weights (.pth, .safetensors),"
    " 'random:NAME' for an untrained timm model, 'random:' before any of the others for the same"
    " network untrained, or a timm name for its published weights"
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Backbone:
    """An encoder in evaluation mode with what it needs to read images.

    Attributes:
        name: how it was asked for.
        encoder: ``(B, C, H, W)`` standardised images to ``(B, D, N, M)``; its ``pooled`` gives the
            features that the exported timm model returns.
        standardize: maps stored values to the encoder's input.
    """

    name: str
    encoder: MaskedEncoder
    standardize: Standardize

    @property
    def size(self) -> int:
        """Pixels per side that it was trained with."""
        return self.encoder.img_size

    @cached_property
    def digest(self) -> str:
        """Hash of architecture, weights and standardisation, a key for cached features.

        Computed when it is first asked for: all weights are read for it.
        """
        statistics = self.standardize.statistics
        about = f"{self.encoder.name} {self.encoder.model_args} {statistics}"
        digest = hashlib.sha256(about.encode())
        for name, tensor in self.encoder.backbone.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def to(self, device: str | torch.device) -> Backbone:
        """Move it, in place."""
        self.encoder.to(device)
        self.standardize.to(device)
        return self


@dataclass(frozen=True, kw_only=True)
class TimmEncoder(StoredEncoder):
    """A model of timm, untrained or with the weights that timm downloads.

    Attributes:
        pretrained: load timm's weights. seed: random seed of untrained ones.
    """

    pretrained: bool
    seed: int

    @property
    def statistics(self) -> ChannelStatistics:
        """timm's; for other bands its moments are repeated, as the first weights are."""
        known = self.skeleton().pretrained_cfg
        bands = range(self.model_args["in_chans"])
        moments = {key: list(known[key]) for key in ("mean", "std")}
        return ChannelStatistics.from_mapping(
            {key: [values[i % len(values)] for i in bands] for key, values in moments.items()}
        )

    def weights(self) -> Mapping[str, Tensor]:
        return self.build().backbone.state_dict()

    def build(self, *, mask_mode: MaskMode | None = None, **model_args: Any) -> MaskedEncoder:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return MaskedEncoder(
                self.architecture,
                mask_mode=mask_mode or self.mask_mode,
                pretrained=self.pretrained,
                **self._arguments(model_args),
            )


@dataclass(frozen=True, kw_only=True)
class UntrainedEncoder(StoredEncoder):
    """What another encoder is without its training: laid out and standardised alike.

    Attributes:
        trained: the other one. seed: random seed of the weights.
    """

    trained: StoredEncoder
    seed: int

    @classmethod
    def of(cls, trained: StoredEncoder, *, source: str, seed: int) -> UntrainedEncoder:
        return cls(
            source=source,
            architecture=trained.architecture,
            model_args=trained.model_args,
            img_size=trained.img_size,
            stem=trained.stem,
            mask_mode=trained.mask_mode,
            trained=trained,
            seed=seed,
        )

    @property
    def statistics(self) -> ChannelStatistics:
        return self.trained.statistics

    def weights(self) -> Mapping[str, Tensor]:
        return self.build().backbone.state_dict()

    def build(self, *, mask_mode: MaskMode | None = None, **model_args: Any) -> MaskedEncoder:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return self._build(mask_mode=mask_mode or self.mask_mode, **model_args)


def identify(
    spec: str,
    *,
    img_size: int | None = None,
    in_chans: int = 3,
    which: str | None = None,
    seed: int = 0,
) -> StoredEncoder:
    """Tell what a name stands for; weights are read when it is built.

    Args:
        spec: `ACCEPTED` says what there is; ``local-dir:FOLDER`` and ``timm:NAME`` say it
            explicitly; ``random:`` before a folder or file stands for the same network, laid out
            and standardised alike, with random weights. Published weights of a timm name are
            downloaded by timm, exports of the hub when they are identified.
        img_size: pixels per side that timm models are laid out for; exports and files keep their
            own.
        in_chans: channels of timm models; exports keep their own.
        which: which encoder of a file with several, see `identify_file`.
        seed: random seed of untrained weights.

    Raises:
        FileNotFoundError: no such export or checkpoint, here or on the hub.
        ValueError: unknown name, or a file or folder that is no backbone.
    """
    of = spec.removeprefix("random:")
    if of != spec and _is_path(of):
        return UntrainedEncoder.of(identify(of, which=which), source=spec, seed=seed)
    if spec.startswith(HUB):
        return _of_hub(spec)
    path = Path(spec.removeprefix("local-dir:"))
    if path.is_dir():
        return ExportedEncoder.open(path)
    if path.suffix == ".ckpt" or path.is_file():
        return identify_file(path, which=which)
    if _is_path(spec):
        raise FileNotFoundError(f"no backbone {spec}: give {ACCEPTED}")
    kind, _, name = spec.rpartition(":")
    if kind not in ("", "timm", "random"):
        raise ValueError(f"unknown backbone {spec!r}: give {ACCEPTED}")
    check_name(name)
    return TimmEncoder(
        source=spec,
        architecture=name,
        model_args={"in_chans": in_chans},
        img_size=img_size,
        pretrained=kind != "random",
        seed=seed,
    )


def _of_hub(spec: str) -> ExportedEncoder:
    folder = hub_folder(spec)
    try:
        return ExportedEncoder.open(folder)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{spec}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{spec}: {error}; timm's own models go by their names alone") from error


def _is_path(spec: str) -> bool:
    """Whether a name is one of a folder or file, there or not, and none of timm."""
    path = Path(spec.removeprefix("local-dir:"))
    if spec.startswith("local-dir:") or len(path.parts) > 1:
        return True
    named = path.suffix in (".ckpt", ".safetensors") or path.exists()
    return named and not timm.is_model(spec.partition(".")[0])


def identify_file(
    path: str | Path,
    *,
    which: str | None = None,
    architecture: str | None = None,
    img_size: int | None = None,
) -> TrainedEncoder | PublishedEncoder:
    """Tell which encoder a file holds: a checkpoint of ours, or a published one.

    Args:
        which: role in a checkpoint of ours (``student``, ``teacher``), default the one that its
            method exports; of a published file see `PublishedEncoder.within`.
        architecture, img_size: for a published file whose weights do not show them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated, unsafe to read, or of an unknown layout.
    """
    content = open_weights(Path(path))
    if {"cmid", "state_dict"} <= content.keys():
        return TrainedEncoder.within(content, path, which)
    return PublishedEncoder.within(
        content, path, which=which, architecture=architecture, img_size=img_size
    )


def load_backbone(
    spec: str | StoredEncoder,
    *,
    img_size: int | None = None,
    in_chans: int = 3,
    which: str | None = None,
    seed: int = 0,
    **model_args: Any,
) -> Backbone:
    """Load a backbone for evaluation.

    The file of an export is verified, that is read once more for its hash; others have none.

    Args:
        spec: see `identify`, or what it returned; the next four are then without effect.
        img_size, in_chans, which, seed: see `identify`.
        **model_args: further arguments of ``timm.create_model`` (``drop_path_rate``).

    Raises:
        FileNotFoundError, ValueError: as `identify`; also weights that do not fit.
    """
    stored = spec
    if isinstance(stored, str):
        stored = identify(stored, img_size=img_size, in_chans=in_chans, which=which, seed=seed)
    encoder = stored.build(**model_args)
    if isinstance(stored, PublishedEncoder):
        # The evaluation would else not say which of several networks it is about.
        level = logging.WARNING if stored.provenance["others"] else logging.INFO
        logger.log(level, describe(encoder, stored.provenance))
    encoder.eval().requires_grad_(False)
    name = spec if isinstance(spec, str) else stored.source
    return Backbone(name, encoder, Standardize(stored.statistics))


def untrained(backbone: Backbone, *, seed: int = 0) -> Backbone:
    """The same architecture with random weights, laid out, pooled and standardised alike."""
    encoder = backbone.encoder
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        twin = MaskedEncoder(
            encoder.name,
            mask_mode=encoder.mask_mode,
            stem=encoder.stem_name,
            **encoder.model_args,
        )
    twin.img_size = encoder.img_size
    twin.eval().requires_grad_(False)
    return Backbone(f"random:{encoder.name}", twin, Standardize(backbone.standardize.statistics))


def load_reconstruction(checkpoint: str | Path) -> tuple[Backbone, ReconstructionHead]:
    """The exported encoder of a checkpoint with its mask token, and its reconstruction head.

    Raises:
        FileNotFoundError, ValueError: as `TrainedEncoder.open`; also a run without
            reconstruction.
    """
    stored = TrainedEncoder.open(checkpoint)
    if not stored.origin.get("weights", {}).get("reconstruction"):
        raise ValueError(f"{checkpoint} was trained without reconstruction")
    encoder = stored.build()
    head = ReconstructionHead(
        encoder.embed_dim,
        encoder.stride,
        encoder.in_chans,
        relative=stored.origin.get("relative_target", False),
    )
    load_strictly(
        head.state_dict(),
        below(stored.state, "reconstruct."),
        refusal=lambda misfit: f"{checkpoint} does not hold the reconstruction head: {misfit}",
    )
    encoder.mask_token.data.copy_(stored.state[f"{stored.prefix}mask_token"])
    encoder.eval().requires_grad_(False)
    backbone = Backbone(str(checkpoint), encoder, Standardize(stored.statistics))
    return backbone, head.eval().requires_grad_(False)
