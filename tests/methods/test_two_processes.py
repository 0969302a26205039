"""Two processes compute what one does with the doubled batch."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from lightning.pytorch.strategies import ModelParallelStrategy

from cmid.callbacks import OnlineKNN
from cmid.data import PretrainData, SceneSource
from cmid.methods import CMID
from cmid.optimization import OptimizerParameters
from cmid.views import ColourParameters, TwoViews, ViewColours

STEPS = 3


def train(strategy: str, batch: int, result: Path) -> None:
    """Train a network without BatchNorm for some steps, keep its state and its losses."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = CMID(
        "vit_tiny_patch16_224",
        img_size=64,
        backbone_args={"depth": 2},
        # A whole number of steps: which keys leave would depend on their order within a step.
        queue_size=48,
        num_prototypes=32,
        num_matches=4,
        # Colour is drawn on each device for itself; here it would only blur the comparison.
        colours=ViewColours(ColourParameters(), ColourParameters()),
        # SGD: Adam would turn the rounding of vanishing gradients into whole steps.
        optimizer=OptimizerParameters(name="sgd", base_lr=1.0, warmup_epochs=0),
    )
    data = PretrainData(
        SceneSource(24, size=64),
        TwoViews(size=64, block_size=16),
        batch_size=batch,
        num_workers=0,
        knn_train=SceneSource(21, size=64, seed=1),
        knn_val=SceneSource(11, size=64, seed=2),
    )
    knn = OnlineKNN(batch_size=4)
    losses = RecordedLosses()
    trainer = L.Trainer(
        max_steps=STEPS,
        max_epochs=1,
        accelerator="cpu",
        devices=1 if strategy == "auto" else 2,
        strategy=(
            ModelParallelStrategy(save_distributed_checkpoint=False)
            if strategy == "fsdp"
            else strategy
        ),
        default_root_dir=result.parent,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[knn, losses],
    )
    trainer.fit(model, data)
    trainer.save_checkpoint(result)
    if trainer.is_global_zero:
        state = torch.load(result, weights_only=True)["state_dict"]
        torch.save({"state": state, "losses": losses.values, "knn": knn.scores}, result)


class RecordedLosses(L.Callback):
    """Total losses of each step, averaged over processes."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any
    ) -> None:
        self.values.append(float(trainer.strategy.reduce(outputs["loss"].detach())))


def _rank(rank: int, port: int, strategy: str, result: Path) -> None:
    os.environ.update(
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        WORLD_SIZE="2",
        LOCAL_RANK=str(rank),
        RANK=str(rank),
        LOCAL_WORLD_SIZE="2",
        GROUP_RANK="0",
        TORCHELASTIC_RUN_ID="test",
    )
    train(strategy, 4, result)
    # Threads of the group that outlive the interpreter abort the process now and then.
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    result = tmp_path_factory.mktemp("alone") / "one.ckpt"
    train("auto", 8, result)
    return torch.load(result, weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_equal_one_with_the_doubled_batch(
    strategy: str, alone: dict[str, Any], tmp_path: Path
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = mp.get_context("spawn")
    jobs = [
        context.Process(target=_rank, args=(rank, port, strategy, tmp_path / "two.ckpt"))
        for rank in (0, 1)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(timeout=900)
        assert job.exitcode == 0

    one, two = alone, torch.load(tmp_path / "two.ckpt", weights_only=True)
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-4)
    assert two["knn"] == pytest.approx(one["knn"])
    differing = [
        name
        for name, value in one["state"].items()
        if not name.startswith("agreement.queue.keys")
        and not torch.allclose(two["state"][name].float(), value.float(), rtol=1e-3, atol=2e-5)
    ]
    assert differing == []
    # Keys enter in the order of the ranks: the same keys, in another order within a step.
    keys = {n: s["state"]["agreement.queue.keys"] for n, s in (("one", one), ("two", two))}
    nearest = torch.cdist(keys["one"].T, keys["two"].T).min(dim=1).values
    assert nearest.max() < 1e-3
    assert int(one["state"]["agreement.queue.position"]) == 0
