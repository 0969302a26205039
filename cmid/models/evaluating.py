"""Modules in evaluation mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode, with the training flag of each submodule put back afterwards."""
    training = {each: each.training for module in modules for each in module.modules()}
    for each in training:
        each.training = False
    try:
        yield
    finally:
        for each, mode in training.items():
            each.training = mode
