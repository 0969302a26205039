"""A small model, scenes for it, and a trainer."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor

from cmid.multimodal.building import MultimodalConfig
from cmid.multimodal.data import MultimodalData, SceneConversations
from cmid.multimodal.language import AdapterConfig, LanguageConfig
from cmid.multimodal.module import MultimodalTraining
from cmid.multimodal.perceiver import PerceiverConfig
from cmid.multimodal.tower import TowerConfig
from cmid.optimization import OptimizerConfig

CONFIG = MultimodalConfig(
    tower=TowerConfig("random:test_resnet", size=32),
    perceiver=PerceiverConfig(
        queries=(4, 3, 2), width=32, heads=4, layers=1, positions="keys_and_values"
    ),
    language=LanguageConfig("tiny:llama:64x2"),
)
ADAPTER = AdapterConfig(rank=4, alpha=8, dropout=0.0)
FAST = OptimizerConfig(name="adamw", base_lr=0.05, weight_decay=0.0, warmup_epochs=0)


def scenes(**changes: Any) -> MultimodalData:
    settings = {"num_images": 8, "size": 32, "limit": 2} | changes
    source = SceneConversations(**settings)
    return MultimodalData(source, size=32, batch_size=4, num_workers=0)


def train(module: MultimodalTraining, data: MultimodalData, **options: Any) -> L.Trainer:
    trainer = L.Trainer(
        **({"max_steps": 2, "enable_checkpointing": False} | options),
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)
    return trainer


def weights(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
