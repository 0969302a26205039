"""Several backbones, measured by their frozen features on the same images."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from lightning.fabric import Fabric

from cmid.checkpoints.backbones import load_backbone
from cmid.evaluation.config import ComparisonConfig
from cmid.evaluation.results import Results, read_results
from cmid.evaluation.tested import TestedImages
from cmid.reporting import markdown_table


def compare_backbones(
    config: ComparisonConfig, *, draw: Callable[[Results, str], None] | None = None
) -> None:
    """Evaluate every backbone; print tables and write ``config.out``, and what lies beside it.

    What cannot be measured is left out, with a line on the error stream; ``config.out`` grows with
    every backbone.

    Args:
        draw: is called at the end with all results and ``config.out``, if there is one.

    Raises:
        ValueError, OSError, ImportError: with a one-line message.
        Exception: the first unexpected failure, once all the others' scores are out.
    """
    devices = config.devices if config.devices == "auto" else int(config.devices)
    if config.accelerator == "cpu" and devices == "auto":
        devices = 1
    fabric = Fabric(accelerator=config.accelerator, devices=devices)
    fabric.launch()
    tested = TestedImages(config)
    results = Results(tested.about)
    for path in config.earlier:
        _join(results, read_results(path), path, own=config.backbones)
    failure: Exception | None = None
    for spec in config.backbones:
        try:
            backbone = load_backbone(
                spec, img_size=config.size, in_chans=tested.num_bands, seed=config.seed
            ).to(fabric.device)
            found = tested.measure(fabric, backbone)
        except Exception as error:
            if fabric.world_size > 1 or len(config.backbones) == 1:
                raise
            # The others' scores are worth having; the error is raised behind them.
            failure = failure or error
            results.left_out[spec] = {"all": str(error)}
            continue
        if found is None:  # another process measures
            continue
        failure = failure or found.error
        if tested.left_out or found.left_out:
            results.left_out[spec] = tested.left_out | found.left_out
        results.add(spec, found.found)
        if config.out:
            results.write(config.out)
    if fabric.is_global_zero:
        _print(results, config.out)
        if config.out and results.found and draw is not None:
            draw(results, config.out)
    if failure is not None:
        raise failure


def _join(results: Results, earlier: Results, path: str, *, own: Sequence[str]) -> None:
    if earlier.about["test_digest"] != results.about["test_digest"]:
        raise ValueError(
            f"{path} is of other test images ({earlier.about['data']}): only results of the same"
            " images, divided by the same --seed, compare"
        )
    for name, found in earlier.found.items():
        results.add(f"{name} ({path})" if name in {*results.found, *own} else name, found)


def _print(results: Results, out: str | None) -> None:
    if results.found:
        print("\n\n".join(markdown_table(table, aligned=True) for table in results.tables()))
        if out:
            print(f"wrote {out}")
    for spec, reasons in results.left_out.items():
        for name, reason in reasons.items():
            print(f"LEFT OUT: {spec}, {name}: {reason}", file=sys.stderr)
