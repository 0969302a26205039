"""Random depth and dropout of a backbone, which timm switches on by default in some families."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.nn.modules.dropout import _DropoutNd


def switch_off_randomness(backbone: nn.Module, *, keep: Iterable[str] = ()) -> None:
    """Make a timm model's training mode deterministic: no drop path, drop block or dropout.

    Not by arguments of ``timm.create_model``: families differ in the names they take, and the
    arguments of a model are stored in checkpoints and exports, where fine-tuning reads them.

    Args:
        backbone: a timm model, changed in place. Parameters and evaluation mode stay as they are.
        keep: arguments of ``timm.create_model`` that the user gave. ``drop_path_rate`` keeps the
            paths, ``drop_block_rate`` the blocks, any other name that ends with ``drop_rate``
            keeps dropout.
    """
    given = set(keep)
    paths = "drop_path_rate" not in given
    blocks = "drop_block_rate" not in given
    others = given - {"drop_path_rate", "drop_block_rate"}
    dropout = not any(name.endswith("drop_rate") for name in others)
    for module in backbone.modules():
        if "drop_prob" in vars(module):
            block = "block_size" in vars(module)
            if blocks if block else paths:
                module.drop_prob = 0.0  # type: ignore[assignment]
        elif dropout and isinstance(module, _DropoutNd):
            module.p = 0.0
        # Dropout before the classifier is a call in many architectures, not a layer.
        if dropout and isinstance(vars(module).get("drop_rate"), float):
            module.drop_rate = 0.0  # type: ignore[assignment]
