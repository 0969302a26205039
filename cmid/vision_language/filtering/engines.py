"""Blocks are scored here or by Ray; what is done is not done again."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from types import ModuleType
from typing import Any

from tqdm import tqdm

from cmid.files import PART
from cmid.vision_language.filtering.blocks import Block, BlockScorer, Work, is_done
from cmid.vision_language.filtering.config import EngineConfig


def score_blocks(work: Work, blocks: Sequence[Block], engine: EngineConfig) -> int:
    """Have the files of all blocks written, each exactly once; the number that were missing.

    A file is named by all that its scores depend on and appears whole. So a run may be killed at
    any time, together with its workers or not, and another one of any engine goes on.

    Raises:
        ModuleNotFoundError: Ray is not installed.
        EngineError: a worker of Ray failed, or its files are not here.
    """
    waiting = [block for block in blocks if not is_done(block, work.folder)]
    if len(waiting) < len(blocks):
        print(f"{len(blocks) - len(waiting)} of {len(blocks)} blocks are done already")
    if waiting:
        work.folder.mkdir(parents=True, exist_ok=True)
        with tqdm(total=sum(b.stop - b.start for b in waiting), unit="image") as progress:
            if engine.engine == "ray":
                _by_ray(work, waiting, engine, progress)
            else:
                scorer = BlockScorer(work)
                for block in waiting:
                    scorer.write(block)
                    progress.update(block.stop - block.start)
        for left in work.folder.glob(f".*{PART}"):  # of writers that were killed
            left.unlink(missing_ok=True)
    return len(waiting)


_RAY_BLOCKS = 1000  # tasks that Ray keeps account of, of one or several blocks each


class EngineError(RuntimeError):
    """Blocks could not be scored; the text is one line with the reason."""


class RayScorer:
    """A `BlockScorer` in an actor of Ray; the work lies in Ray's shared memory."""

    def __init__(self, work: Any) -> None:
        import torch

        torch.set_num_threads(1)  # an actor has one core
        self.scorer = BlockScorer(import_ray().get(work[0]))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        columns = [column.tolist() for column in batch.values()]
        for row in zip(*columns, strict=True):
            block = Block(**dict(zip(batch, row, strict=True)))
            # Ray repeats a task whose worker was lost, also its blocks that were written.
            if not is_done(block, self.scorer.work.folder):
                self.scorer.write(block)
        return {"images": batch["stop"] - batch["start"]}


def import_ray() -> ModuleType:
    """ray with ray.data, or the error that says how to get it."""
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("--engine ray needs Ray: pip install 'cmid[scoring]'") from error
    return ray


def _by_ray(work: Work, blocks: Sequence[Block], engine: EngineConfig, progress: tqdm) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = import_ray()
    cores = {} if engine.address else {"num_cpus": engine.workers, "include_dashboard": False}
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    ray.init(address=engine.address, **cores, **quiet)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        rows = [asdict(block) for block in blocks]
        done = ray.data.from_items(
            rows, override_num_blocks=min(len(rows), _RAY_BLOCKS)
        ).map_batches(
            RayScorer,
            fn_constructor_args=([ray.put(work)],),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=engine.workers),
            num_cpus=1,
            num_gpus=engine.gpus,
        )
        for row in done.iter_rows():
            progress.update(int(row["images"]))
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error.__cause__ or error
        reason = f"{type(cause).__name__}: {cause}".strip().splitlines()[0]
        raise EngineError(f"a worker of Ray failed: {reason}") from error
    finally:
        ray.shutdown()
    missing = sum(not is_done(block, work.folder) for block in blocks)
    if missing:
        raise EngineError(
            f"{missing} of {len(blocks)} blocks are not in {work.folder}: --out has to lie on a"
            " disk that all machines of the cluster share"
        )
