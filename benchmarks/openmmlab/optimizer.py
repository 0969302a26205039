"""Layer-wise decay of the learning rate for timm's backbones, and timm's Adan."""

from __future__ import annotations

from typing import Any

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIMIZERS
from timm.models import group_parameters
from timm.optim import Adan
from torch import nn

from benchmarks.openmmlab.backbone import CMIDBackbone

# mmpretrain has one of its own, which computes the same; in its scope the name means that one.
OPTIMIZERS.register_module(module=Adan)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayConstructor(DefaultOptimWrapperConstructor):
    """Lower learning rates for earlier layers of a `CMIDBackbone`.

    With L layers by timm's own count (the stem is layer 0, then come the blocks), layer i learns at
    ``lr * layer_decay_rate ** (L - i)``, everything else - necks, heads, the norms and the pyramid
    that OpenMMLab needs - at ``lr``. BEiT's rule (arXiv:2106.08254).

    Biases, norms, other vectors and what timm names in ``no_weight_decay`` (position embeddings,
    class tokens, tables of relative positions) do not decay.

    Native backbones have ``LearningRateDecayOptimWrapperConstructor`` of mmpretrain.

    Args:
        optim_wrapper_cfg: holds ``optimizer``, whose ``lr`` and ``weight_decay`` must be given.
        paramwise_cfg: ``layer_decay_rate``, 0 to 1, and all that mmengine's default constructor
            knows (``custom_keys``, ...), which multiply with it.

    Raises:
        ValueError: no decay rate, or a model without `CMIDBackbone`.

    Example:
        optim_wrapper = dict(
            optimizer=dict(type="AdamW", lr=1e-4, weight_decay=0.05),
            constructor="LayerDecayConstructor",
            paramwise_cfg=dict(layer_decay_rate=0.75),
        )
    """

    def __init__(
        self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any] | None = None
    ) -> None:
        settings = {"norm_decay_mult": 0.0, "bias_decay_mult": 0.0, "flat_decay_mult": 0.0}
        settings |= paramwise_cfg or {}
        self.rate = settings.pop("layer_decay_rate", None)
        if not isinstance(self.rate, int | float) or not 0 < self.rate <= 1:
            raise ValueError(
                f"paramwise_cfg.layer_decay_rate must be above 0 and at most 1, not {self.rate}"
            )
        for needed in ("lr", "weight_decay"):
            if optim_wrapper_cfg["optimizer"].get(needed) is None:
                raise ValueError(f"LayerDecayConstructor needs optim_wrapper.optimizer.{needed}")
        super().__init__(optim_wrapper_cfg, settings)

    def add_params(
        self,
        params: list[dict[str, Any]],
        module: nn.Module,
        prefix: str = "",
        is_dcn_module: int | float | None = None,
    ) -> None:
        """Append groups of parameters; mmengine calls this for the model, and it for children."""
        if not prefix and not any(isinstance(part, CMIDBackbone) for part in module.modules()):
            raise ValueError(
                "LayerDecayConstructor: the model has no CMIDBackbone; native backbones have"
                " mmpretrain.LearningRateDecayOptimWrapperConstructor"
            )
        start = len(params)
        super().add_params(params, module, prefix, is_dcn_module)
        if isinstance(module, CMIDBackbone):
            self._decay(params[start:], module.network)
        if not prefix:
            params[:] = self._merge(params)

    def _decay(self, groups: list[dict[str, Any]], network: Any) -> None:
        layers = group_parameters(network, network.group_matcher(), reverse=True)
        count = max(layers.values()) + 1
        still = network.no_weight_decay() if hasattr(network, "no_weight_decay") else set()
        names = {parameter: name for name, parameter in network.named_parameters()}
        for group in groups:
            (parameter,) = group["params"]
            if name := names.get(parameter):
                scale = self.rate ** (count - layers[name])
                group["lr"] = group.get("lr", self.base_lr) * scale
                if name in still:
                    group["weight_decay"] = 0.0

    def _merge(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One group for all parameters of equal settings, which steps faster than hundreds.

        The highest rate comes first: mmengine logs that of the first group.
        """
        merged: dict[str, dict[str, Any]] = {}
        for group in groups:
            settings = {"lr": self.base_lr, "weight_decay": self.base_wd} | group
            parameters = settings.pop("params")
            same = merged.setdefault(repr(sorted(settings.items())), settings | {"params": []})
            same["params"] += parameters
        ordered = sorted(merged.values(), key=lambda group: -group["lr"])
        for group in ordered:
            print_log(
                f"{len(group['params'])} parameters at lr {group['lr']:.3g}, weight decay"
                f" {group['weight_decay']:.3g}",
                logger="current",
            )
        return ordered
