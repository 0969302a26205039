"""An encoder at rest: what it is, before its weights are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from cmid.checkpoints.strict import load_strictly
from cmid.data.statistics import ChannelStatistics
from cmid.models.encoder import MaskedEncoder, MaskMode, skeleton


@dataclass(frozen=True, kw_only=True)
class StoredEncoder(ABC):
    """What a folder, a file or a name holds.

    Attributes:
        source: how a message names it.
        architecture: timm's name.
        model_args: further arguments of ``timm.create_model``.
        img_size: pixels per side that it is laid out for; None leaves timm's.
        stem, mask_mode: see `MaskedEncoder`.
        provenance: origin of the weights, as plain values.
    """

    source: str
    architecture: str
    model_args: Mapping[str, Any] = field(repr=False)
    img_size: int | None
    stem: str | None = None
    mask_mode: MaskMode = "add"
    provenance: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    @abstractmethod
    def statistics(self) -> ChannelStatistics:
        """Those that it was trained with; raises ValueError where nobody knows them."""

    @abstractmethod
    def weights(self) -> Mapping[str, Tensor]:
        """Read them, by timm's names."""

    def build(self, *, mask_mode: MaskMode | None = None, **model_args: Any) -> MaskedEncoder:
        """The encoder with its weights, all of them; its mask token is zero.

        Args:
            mask_mode: overrides the stored one.
            **model_args: of ``timm.create_model`` (``drop_path_rate``); they win over its own.

        Raises:
            ValueError: arguments that timm refuses, or weights that do not fit them.
        """
        encoder = self._build(mask_mode=mask_mode or self.mask_mode, **model_args)
        load_strictly(
            encoder.backbone.state_dict(),
            self.weights(),
            refusal=lambda misfit: f"{self.source} does not hold a {encoder.name}: {misfit}",
        )
        return encoder

    def skeleton(self, **model_args: Any) -> Any:
        """The timm model without numbers, which tells stages and widths; no weight is read."""
        return skeleton(self.architecture, **self._arguments(model_args))

    def _arguments(self, model_args: Mapping[str, Any]) -> dict[str, Any]:
        args = {"img_size": self.img_size} | dict(self.model_args) | dict(model_args)
        if isinstance(args["img_size"], list | tuple):
            args["img_size"] = args["img_size"][-1]
        return args

    def _build(self, *, mask_mode: MaskMode, **model_args: Any) -> MaskedEncoder:
        args = self._arguments(model_args)
        try:
            return MaskedEncoder(self.architecture, mask_mode=mask_mode, stem=self.stem, **args)
        # What timm raises of arguments that somebody changed depends on the argument.
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError) as error:
            given = ", ".join(f"{key}={value!r}" for key, value in args.items())
            reason = str(error).strip().partition("\n")[0]
            raise ValueError(f"timm cannot build {self.architecture} with {given}: {reason}") from (
                error
            )
