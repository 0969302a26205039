"""Published checkpoints of CMID and other methods as encoders.

Understood: CMID (ResNet-50, and Swin-B in OpenMMLab's names; whole checkpoints and bare backbones),
MAE, SimMIM (Swin), MoCo-v2, MoCo-v3, DINO, iBOT, SeCo, and any file of ResNet (torchvision, timm,
OpenMMLab), Swin (original, timm, OpenMMLab), ViT or ConvNeXt (timm, OpenMMLab) weights; also
the published checkpoints of OpenMMLab, whose heads are dropped (those of a training run hold more
than weights, and are refused).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

from cmid.checkpoints.layouts import LAYOUTS, Weights, find_architecture
from cmid.checkpoints.networks import choose, find_networks
from cmid.checkpoints.stored import StoredEncoder
from cmid.checkpoints.strict import Misfit, load_strictly
from cmid.data.statistics import MILLION_AID, ChannelStatistics
from cmid.models.encoder import MaskedEncoder, MaskMode

# Parts of a network that an encoder does not have: classifiers, decoders, projections, tokens of
# masked modelling, counters of wrappers.
_HEADS = re.compile(
    r"fc\.|heads?\.(?!norm\.)|head_dist\.|classifier\.|aux_?\w*\.|\w*_head\.|decode|mask_token|"
    r"masked_embed|stage\d_norm\.|proj(?:ection|ector)?(?:_\w+)?\.|predictor|prototypes|queue|"
    r"n_averaged$"
)
# Computed from the architecture, not learned; compared where timm has them too.
_DERIVED = ("relative_position_index", "attn_mask", "relative_coords_table")


@dataclass(frozen=True, kw_only=True)
class PublishedEncoder(StoredEncoder):
    """An encoder in a file of somebody else's.

    Attributes:
        used: weights by timm's names, mapped from the file.
        derived: tables that the architecture fixes, likewise by name.
        moments: arguments of `standardisation` that somebody gave.
    """

    used: Weights = field(repr=False)
    derived: Weights = field(repr=False)
    moments: Mapping[str, Sequence[float] | None] = field(default_factory=dict)

    @classmethod
    def within(
        cls,
        content: Mapping[str, Any],
        path: str | Path,
        *,
        which: str | None = None,
        architecture: str | None = None,
        img_size: int | None = None,
    ) -> PublishedEncoder:
        """The encoder in what `open_weights` opened.

        Every weight of the encoder must be found: nothing is loaded by halves. Its number of bands
        is that of the first convolution.

        Args:
            content: what the file holds.
            path: names it, for messages.
            which: for a file with several networks (student and teacher, a moving average), the
                name of one, whole (``model_ema``, ``state_dict/module.encoder_k``) or a part that
                only it has (``encoder_k``). Default: the trained network before its averages, but
                DINO's teacher before its student.
            architecture: timm's name; default: by the shapes of the weights.
            img_size: pixels per side; default: by the position embedding or the window.

        Raises:
            ValueError: an unknown layout (names the first keys), or no network of that name.
                `build` raises it for weights missing or left over.
        """
        path = Path(path)
        networks = find_networks(content, path)
        network = choose(networks, which, path)
        dropped = Counter(
            name.split(".")[0] for name in network.stored if not name.startswith(network.prefix)
        )
        used, derived = Weights(), Weights()
        for name, tensor in LAYOUTS[network.layout](network.weights).items():
            if _HEADS.match(name):
                dropped[name.split(".")[0]] += 1
            elif name.endswith(_DERIVED):
                derived[name] = tensor
            else:
                used[name] = tensor
        try:
            found, args = find_architecture(used, by_shape=architecture is None)
        except ValueError as error:
            raise ValueError(
                f"{path}: {error}; a network that timm has can be named with --architecture"
            ) from error
        return cls(
            source=str(path),
            architecture=architecture or found,
            model_args=args | ({} if img_size is None else {"img_size": img_size}),
            img_size=None,
            used=used,
            derived=derived,
            provenance={
                "source": path.name,
                "entry": network.entry,
                "prefix": network.prefix,
                "layout": network.layout,
                "used": len(used),
                "dropped": dict(dropped),
                "network": network.name,
                "others": [other.name for other in networks if other is not network],
            },
        )

    @property
    def statistics(self) -> ChannelStatistics:
        bands = self.model_args["in_chans"]
        moments = standardisation(self.provenance, bands=bands, **self.moments)
        return ChannelStatistics.from_mapping(moments)

    def standardised(self, **moments: Sequence[float] | None) -> PublishedEncoder:
        """The same for images of other statistics: ``mean``, ``std``, ``low``, ``high``."""
        return replace(self, moments=moments)

    def weights(self) -> Mapping[str, Tensor]:
        return self.used

    def build(self, *, mask_mode: MaskMode | None = None, **model_args: Any) -> MaskedEncoder:
        args = self._arguments(model_args)
        encoder = MaskedEncoder(self.architecture, mask_mode=mask_mode or self.mask_mode, **args)
        load_strictly(
            encoder.backbone.state_dict(),
            self.used,
            refusal=lambda misfit: self._refusal(misfit, encoder),
            optional=lambda name: name.endswith("num_batches_tracked"),
        )
        _check_derived(encoder, self.derived, self.source)
        return encoder.eval()

    def _refusal(self, misfit: Misfit, encoder: MaskedEncoder) -> str:
        faults = [
            f"{fault} {len(names)} weights of {encoder.name}, first {', '.join(names[:5])}"
            for fault, names in (("lacks", misfit.missing), ("has unknown", misfit.unknown))
            if names
        ]
        if faults:
            return (
                f"{self.source} {' and '.join(faults)}; name the architecture (--architecture) if"
                " it is another"
            )
        name = misfit.misshapen[0]
        expected = encoder.backbone.state_dict()[name].shape
        return (
            f"{self.source}: {name} is {tuple(self.used[name].shape)}, {encoder.name} at"
            f" {encoder.img_size} pixels has {tuple(expected)}; name the architecture"
            " (--architecture) or the image size (--img_size)"
        )


def describe(encoder: MaskedEncoder, provenance: Mapping[str, Any]) -> str:
    """What was used of a published checkpoint, and what was left."""
    dropped = ", ".join(f"{part} ({count})" for part, count in provenance["dropped"].items())
    text = (
        f"{provenance['source']}: {encoder.name} at {encoder.img_size} pixels,"
        f" {encoder.in_chans} bands, layout {provenance['layout']!r},"
        f" {provenance['used']} weights used;"
        f" not part of an encoder: {dropped or 'none'}"
    )
    if not provenance["others"]:
        return text
    return (
        f"{text}; network {provenance['network']}, the file also holds"
        f" {', '.join(provenance['others'])} (tools/export.py --which NAME takes another)"
    )


def standardisation(
    provenance: Mapping[str, Any],
    *,
    bands: int = 3,
    **given: Sequence[float] | None,
) -> dict[str, list[float]]:
    """Statistics that a published encoder expects: MillionAID's for CMID, else ImageNet's.

    Args:
        provenance: that of a `PublishedEncoder`.
        bands: number of bands that the encoder reads.
        mean, std: mean and deviation of values in 0..1, one for each band or one for all.
        low, high: range of stored values that is mapped to 0..1, likewise; default 0 and 255.

    Raises:
        ValueError: values for another number of bands, or none for other images than RGB.
    """
    of_cmid = re.search(r"(online|target)_encoder\.model\.$", provenance["prefix"])
    defaults: dict[str, Sequence[float] | None] = {"mean": None, "std": None}
    if bands == 3:
        defaults = {"mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD}
        if of_cmid:
            defaults = {"mean": MILLION_AID.mean, "std": MILLION_AID.std}
    moments = {}
    for name in ("mean", "std", "low", "high"):
        values = given.get(name) or defaults.get(name)
        if values is None and name in defaults:
            raise ValueError(
                f"{provenance['source']} reads {bands} bands, and does not say how they were"
                " standardised: give tools/export.py --mean and --std of values in 0..1, and"
                " --low and --high of stored ones that are not 8-bit, one number for each band or"
                " one for all"
            )
        if values is not None:
            if len(values) not in (1, bands):
                raise ValueError(
                    f"{len(values)} values of {name} for the {bands} bands of"
                    f" {provenance['source']}: give one for each band, or one for all"
                )
            moments[name] = [float(v) for v in values] * (bands if len(values) == 1 else 1)
    return moments


def _check_derived(encoder: MaskedEncoder, derived: Weights, source: str) -> None:
    """Positions must be counted as timm counts them, or the position tables mean something else."""
    ours = dict(encoder.backbone.named_buffers())
    for name in (n for n in derived if n.endswith("relative_position_index") and n in ours):
        if not torch.equal(derived[name].long(), ours[name].long()):
            raise ValueError(f"{source}: {name} counts positions in another order than timm")
