"""The filter's engines: overhead over a bare loop, equal rows by 1 and 2 actors of Ray, and kills.

python -m benchmarks.vision_language.filter_engines --scorer SCORER --out DIR --kills 20

Every run is a process of tools/filter_pairs.py on generated scenes; its rows are compared by hash.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cmid.command_line import command
from cmid.files import write_json
from cmid.options import at_least, option


@dataclass(frozen=True)
class EnginesConfig:
    """What is measured.

    Attributes:
        scorer: folder of a scorer or a CLIP.
        out: folder for selections and engines.json.
        scenes: number of scenes.
        block_size: images of a block.
        kills: how often to kill an actor of Ray, or the driver with all it started, at random
            times, before a run has to end.
        seed: of the kills.
    """

    scorer: str = option()
    out: Path = option()
    scenes: Annotated[int, at_least(1)] = 4000
    block_size: Annotated[int, at_least(1)] = 100
    kills: Annotated[int, at_least(0)] = 0
    seed: int = 0


@command(EnginesConfig, memory="--scenes")
def main(config: EnginesConfig) -> None:
    """Measure, print and write."""
    results: dict[str, object] = {"scenes": config.scenes, "block_size": config.block_size}
    bare, own = _bare_loop(config)
    results["overhead in CPU seconds"] = {"bare loop": bare, "engine": own, "share": own / bare - 1}
    print(results, flush=True)
    hashes = {}
    for name, options in (
        ("local", []),
        ("ray, 1 actor", ["--engine", "ray"]),
        ("ray, 2 actors", ["--engine", "ray", "--workers", "2"]),
    ):
        started = time.perf_counter()
        out = config.out / f"{name.replace(', ', '_').replace(' ', '_')}.parquet"
        _start(config, out, options).wait()
        hashes[name] = rows_hash(out)
        results[f"seconds of {name}"] = time.perf_counter() - started
        print(name, hashes[name], results[f"seconds of {name}"], flush=True)
    if config.kills:
        results["killed"], killed = _kill(config)
        hashes |= {f"ray, killed, run {k}": found for k, found in enumerate(killed)}
    results["hashes of the rows"] = hashes
    results["equal"] = len(set(hashes.values())) == 1
    write_json(config.out / "engines.json", results)
    print(results)


def rows_hash(selection: Path) -> str:
    """Hash of all columns of all rows, in order."""
    import pyarrow.parquet as pq

    digest = hashlib.sha256()
    table = pq.read_table(selection)
    for name in table.column_names:
        digest.update(repr(table.column(name).to_pylist()).encode())
    return digest.hexdigest()


def _bare_loop(config: EnginesConfig) -> tuple[float, float]:
    """CPU seconds of reading and scoring all pairs, and of the engine that also writes blocks."""
    import torch

    from cmid.vision_language.data import SceneTexts
    from cmid.vision_language.filtering.blocks import Work, open_scorer
    from cmid.vision_language.filtering.config import EngineConfig
    from cmid.vision_language.filtering.engines import score_blocks

    torch.set_num_threads(1)
    source = SceneTexts(config.scenes)
    scorer = open_scorer(config.scorer).eval()
    started = time.process_time()
    images, texts = [], []
    for index in range(len(source)):
        item = source.read(index)
        images += [item.image.pixels] * len(item.captions)
        texts += item.captions
        if len(texts) >= 64 or index == len(source) - 1:
            for first in range(0, len(texts), 64):
                scorer.score(images[first : first + 64], texts[first : first + 64])
            images, texts = [], []
    bare = time.process_time() - started
    folder = config.out / "bare_blocks"
    work = Work((source,), config.scorer, None, None, folder, 64, "cpu")
    shutil.rmtree(folder, ignore_errors=True)
    started = time.process_time()
    score_blocks(work, work.blocks(config.block_size), EngineConfig(out=config.out / "x.parquet"))
    return bare, time.process_time() - started


def _start(config: EnginesConfig, out: Path, options: list[str]) -> subprocess.Popen[bytes]:
    words = [sys.executable, "tools/filter_pairs.py", f"scenes:{config.scenes}"]
    words += ["--scorer", config.scorer, "--out", str(out)]
    words += ["--block_size", str(config.block_size), "--batch_size", "64", *options]
    with (out.with_suffix(".log")).open("ab") as log:
        return subprocess.Popen(
            words, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )


def _kill(config: EnginesConfig) -> tuple[dict[str, int], list[str]]:
    """Kill actors, and now and then everything, until all kills are spent; then let a run end.

    Runs that end before are followed by new ones. Returns what was killed, and hashes of all runs.
    """
    counts = {"actors": 0, "drivers": 0, "runs": 0}
    hashes: list[str] = []
    rng = random.Random(config.seed)
    options = ["--engine", "ray", "--workers", "2"]
    while counts["actors"] + counts["drivers"] < config.kills:
        out = config.out / f"killed_{counts['runs']}.parquet"
        counts["runs"] += 1
        process = _start(config, out, options)
        blocks, seen = out.with_name(f"{out.stem}_blocks"), 0
        while process.poll() is None:
            time.sleep(rng.uniform(0.5, 3))
            tree = [*_descendants(process.pid)]
            actors = [pid for pid, name in tree if "MapWorker" in name]
            spent = counts["actors"] + counts["drivers"] >= config.kills
            done = len([*blocks.glob("*.parquet")])
            if spent or not actors or done == seen:  # actors that start have nothing to lose
                continue
            seen = done
            if rng.random() < 0.75:
                _kill_if_there(rng.choice(actors))
                counts["actors"] += 1
            else:
                for pid in (process.pid, *(pid for pid, _ in tree)):
                    _kill_if_there(pid)
                process.wait()
                counts["drivers"] += 1
                process = _start(config, out, options)
        if process.wait() != 0:
            raise ValueError(f"a run failed: see {out.with_suffix('.log')}")
        hashes.append(rows_hash(out))
        print(counts, hashes[-1], flush=True)
    return counts, hashes


def _kill_if_there(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _descendants(pid: int) -> Iterator[tuple[int, str]]:
    """Processes below one, with their command lines (Linux)."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    waiting = children.get(pid, [])
    while waiting:
        child = waiting.pop()
        waiting += children.get(child, [])
        try:
            name = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        yield child, name


if __name__ == "__main__":
    main()
