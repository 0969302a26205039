"""Two processes compute what one does with the doubled batch, and train whatever is asked.

All jobs of two processes share one start of them, which costs more than the training.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torch.distributed as dist
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor
from torch.nn.functional import normalize

from cmid.callbacks import OnlineKNN
from cmid.data import PretrainData, SceneSource
from cmid.methods import CMID
from cmid.methods.branches import BatchAgreement, StudentAgreement
from cmid.methods.cmid import LossConfig
from cmid.optimization import OptimizerConfig
from cmid.views import ColourConfig, TwoViews, ViewColourConfig
from tests.together import leave_for_next, run_together

STEPS = 3
VIT = ("vit_tiny_patch16_224", {"depth": 1, "embed_dim": 48, "num_heads": 3})
# Its head has a norm that only the contrastive loss trains.
CONVNEXT = ("convnext_atto", {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)})
LEFT_OUT = {
    "reconstruction": LossConfig(0, 1, 1),
    "contrastive": LossConfig(1, 0, 1),
    "local": LossConfig(1, 1, 0),
    "all but reconstruction": LossConfig(1, 0, 0),
}
CLEAN: dict[str, Any] = {"agreement": "simclr", "global_views": "clean"}
# Name of a job: strategy and what differs from the comparison with one process.
JOBS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddp": ("ddp", {}),
    "fsdp": ("fsdp", {}),
    **{
        f"{strategy} without {name}": (strategy, {"weights": weights, "agreement": "byol"})
        for strategy in ("ddp", "fsdp")
        for name, weights in LEFT_OUT.items()
    },
    "ddp, clean": ("ddp", CLEAN),
    "ddp, clean, alone": ("ddp", {**CLEAN, "weights": LossConfig(0, 1, 0)}),
}


def train(strategy: str, batch: int, result: Path, **options: Any) -> None:
    """Train some steps; keep state, losses, rates and what was printed of them."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    backbone, arguments = CONVNEXT if options else VIT
    model = CMID(
        backbone,
        img_size=64,
        backbone_args=arguments,
        # A whole number of steps: which keys leave would depend on their order within a step.
        queue_size=48,
        num_prototypes=32,
        num_matches=4,
        # Colour is drawn on each device for itself; here it would only blur the comparison.
        colours=ViewColourConfig(ColourConfig(), ColourConfig()),
        # SGD: Adam would turn the rounding of vanishing gradients into whole steps.
        optimizer=OptimizerConfig(name="sgd", base_lr=1.0, warmup_epochs=0),
        **options,
    )
    labelled = {
        "knn_train": SceneSource(21, size=64, seed=1),
        "knn_val": SceneSource(11, size=64, seed=2),
    }
    data = PretrainData(
        SceneSource(24, size=64),
        TwoViews(size=64, block_size=16),
        batch_size=batch,
        num_workers=0,
        **({} if options else labelled),
    )
    knn = OnlineKNN(batch_size=4)
    seen = Recorded()
    trainer = L.Trainer(
        max_steps=1 if options else STEPS,
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
        callbacks=[knn, seen],
    )
    trainer.fit(model, data)
    trainer.save_checkpoint(result)
    if trainer.is_global_zero:
        state = torch.load(result, weights_only=True)["state_dict"]
        kept = {"state": state, "losses": seen.losses, "rates": seen.rates, "knn": knn.scores}
        torch.save(kept, result)


class Recorded(L.Callback):
    """Total losses of each step, averaged over processes, and the rates that were used."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.rates: list[float] = []

    def on_before_optimizer_step(self, trainer: L.Trainer, *_: Any) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any
    ) -> None:
        self.losses.append(float(trainer.strategy.reduce(outputs["loss"].detach())))


def _rank(rank: int, folder: Path) -> None:
    torch.save(agree(rank), folder / f"agreement.{rank}.pt")
    for name, (strategy, options) in JOBS.items():
        leave_for_next()
        try:
            train(strategy, 4, folder / f"{name}.ckpt", **options)
        except Exception:
            (folder / f"{name}.{rank}.txt").write_text(traceback.format_exc())


def embeddings(seed: int) -> tuple[Tensor, Tensor]:
    """Embeddings of both views of five images."""
    first, second = normalize(
        torch.randn(10, 16, generator=torch.Generator().manual_seed(seed)), dim=1
    ).chunk(2)
    return first, second


def agree(rank: int) -> dict[str, Tensor]:
    """Losses without a queue, and gradients, of this process' images: three and two of five."""
    dist.init_process_group("gloo")
    rows = slice(0, 3) if rank == 0 else slice(3, 5)
    found = {}
    for name, agreement in (("keys", BatchAgreement), ("student", StudentAgreement)):
        query, key = [(one[rows], two[rows]) for one, two in (embeddings(0), embeddings(1))]
        first = query[0].requires_grad_()
        loss = agreement(temperature=0.3)((first, query[1]), key)
        loss.backward()
        found |= {f"{name} loss": loss.detach(), f"{name} gradient": first.grad}
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    result = tmp_path_factory.mktemp("alone") / "one.ckpt"
    train("auto", 8, result)
    return torch.load(result, weights_only=True)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the results of all jobs of two processes, which ended well."""
    folder = tmp_path_factory.mktemp("together")
    assert run_together(_rank, folder, groups=len(JOBS) + 1) == [0, 0]
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_equal_one_with_the_doubled_batch(
    strategy: str, alone: dict[str, Any], together: Path
) -> None:
    one, two = alone, torch.load(together / f"{strategy}.ckpt", weights_only=True)
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


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_use_the_rates_of_their_global_batch(
    strategy: str, alone: dict[str, Any], together: Path
) -> None:
    two = torch.load(together / f"{strategy}.ckpt", weights_only=True)
    assert two["rates"] == alone["rates"]
    assert two["rates"][0] == pytest.approx(1.0 * 8 / 256)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [name for name in JOBS if "without" in name])
def test_two_processes_train_with_a_loss_left_out(name: str, together: Path) -> None:
    failures = [path.read_text() for path in together.glob(f"{name}.*.txt")]
    assert failures == []
    result = torch.load(together / f"{name}.ckpt", weights_only=True)
    assert len(result["losses"]) == 1
    # The file is that of a run with all losses: nothing is missing in it.
    assert (
        result["state"].keys()
        == CMID(
            CONVNEXT[0],
            img_size=64,
            backbone_args=CONVNEXT[1],
            queue_size=48,
            num_prototypes=32,
            agreement="byol",
        )
        .state_dict()
        .keys()
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [name for name in JOBS if "clean" in name])
def test_two_processes_train_a_global_branch_on_clean_views(name: str, together: Path) -> None:
    failures = [path.read_text() for path in together.glob(f"{name}.*.txt")]
    assert failures == []
    assert len(torch.load(together / f"{name}.ckpt", weights_only=True)["losses"]) == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_keys_of_the_other_process_are_negatives_too(together: Path) -> None:
    parts = [torch.load(together / f"agreement.{rank}.pt", weights_only=True) for rank in (0, 1)]
    first, second = embeddings(0)
    first.requires_grad_()
    loss = BatchAgreement(temperature=0.3)((first, second), embeddings(1))
    loss.backward()
    mean = (3 * parts[0]["keys loss"] + 2 * parts[1]["keys loss"]) / 5
    torch.testing.assert_close(mean, loss.detach())
    shares = torch.cat(
        [share / 5 * part["keys gradient"] for share, part in zip((3, 2), parts, strict=True)]
    )
    torch.testing.assert_close(shares, first.grad)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_both_processes_have_the_whole_loss_of_the_student_and_its_gradient(together: Path) -> None:
    parts = [torch.load(together / f"agreement.{rank}.pt", weights_only=True) for rank in (0, 1)]
    first, second = embeddings(0)
    first.requires_grad_()
    loss = StudentAgreement(temperature=0.3)((first, second))
    loss.backward()
    for part in parts:
        torch.testing.assert_close(part["student loss"], loss.detach())
    # Data-parallel training takes the mean over processes.
    gathered = torch.cat([part["student gradient"] for part in parts])
    torch.testing.assert_close(gathered / 2, first.grad)
