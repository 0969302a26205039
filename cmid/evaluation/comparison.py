"""Several backbones, measured by their frozen features on the same images."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lightning.fabric import Fabric
from torch.distributed import ProcessGroup

from cmid.checkpoints.backbones import load_backbone
from cmid.data.opening import open_source
from cmid.evaluation.config import ComparisonConfig, LabelConfig
from cmid.evaluation.label_curve import LabelCurves
from cmid.evaluation.leak_check import check_leaks
from cmid.evaluation.results import Results, read_results
from cmid.evaluation.tasks import Evaluation
from cmid.evaluation.tested import TestedImages, pooled_features
from cmid.evaluation.tested_masks import TestedMasks
from cmid.processes import gather_objects, patient_group
from cmid.reporting import markdown_table


def compare_backbones(
    config: ComparisonConfig,
    *,
    curves: LabelConfig = LabelConfig(),
    draw: Callable[[Results, str], None] | None = None,
) -> None:
    """Evaluate every backbone; print tables and write ``config.out``, and what lies beside it.

    What cannot be measured is left out, with a line on the error stream; ``config.out`` grows with
    every backbone.

    Args:
        curves: asks for curves of label efficiency in place of scores, if it names labels.
        draw: is called at the end with all results and ``config.out``, if there is one.

    Raises:
        ValueError, OSError, ImportError: with a one-line message.
        Exception: the first unexpected failure, once all the others' scores are out.
    """
    if curves.labels and config.tasks:
        raise ValueError("--labels measures accuracy in place of --tasks: give one of them")
    devices = config.devices if config.devices == "auto" else int(config.devices)
    if config.accelerator == "cpu" and devices == "auto":
        devices = 1
    fabric = Fabric(accelerator=config.accelerator, devices=devices)
    fabric.launch()
    patient = patient_group()  # much is done by the first process alone
    masks = (Path(config.data) / "img_dir").is_dir()
    tested = TestedMasks(config) if masks else TestedImages(config)
    if config.leaks or config.drop_leaks or config.pretraining:
        _look_for_leaks(fabric, tested, config, patient)
    measured = _measured(fabric, tested, config, curves, patient)
    results = Results(tested.about)
    for path in config.earlier:
        _join(results, read_results(path), path, own=config.backbones)
    failure: Exception | None = None
    for spec in config.backbones:
        try:
            for name, found in measured(spec):
                failure = failure or found.error
                if tested.left_out or found.left_out:
                    results.left_out[name] = tested.left_out | found.left_out
                results.add(name, found.found)
                if config.out:
                    results.write(config.out)
            gather_objects(None, patient)
        except Exception as error:
            if fabric.world_size > 1 or len(config.backbones) == 1:
                raise
            # The others' scores are worth having; the error is raised behind them.
            failure = failure or error
            results.left_out[spec] = {"all": str(error)}
    if fabric.is_global_zero:
        _print(results, config.out)
        if config.out and results.found and draw is not None:
            draw(results, config.out)
    if failure is not None:
        raise failure


def _measured(
    fabric: Fabric,
    tested: TestedImages | TestedMasks,
    config: ComparisonConfig,
    curves: LabelConfig,
    patient: ProcessGroup | None,
) -> Callable[[str], Iterator[tuple[str, Evaluation]]]:
    """What measures a backbone, and tells it in one row or several; in none on other processes."""

    def scores(spec: str) -> Iterator[tuple[str, Evaluation]]:
        backbone = load_backbone(
            spec, img_size=config.size, in_chans=tested.num_bands, seed=config.seed
        ).to(fabric.device)
        found = tested.measure(fabric, backbone)
        if found is not None:
            yield spec, found

    if not curves.labels:
        return scores
    if isinstance(tested, TestedMasks):
        raise ValueError("--labels needs images of one class each")
    drawn = LabelCurves(tested, config, curves, group=patient)
    tested.about["labels"] = drawn.places
    return lambda spec: ((name, Evaluation(own, {})) for name, own in drawn.lines(fabric, spec))


def _look_for_leaks(
    fabric: Fabric,
    tested: TestedImages | TestedMasks,
    config: ComparisonConfig,
    patient: ProcessGroup | None,
) -> None:
    """Count and name them, by the embeddings of the first backbone, too; drop them if asked to."""
    train, test = tested.images()
    learned = {"training": train}
    if config.pretraining:
        learned["pretraining"] = open_source(config.pretraining)
    backbone = load_backbone(
        config.backbones[0], img_size=config.size, in_chans=tested.num_bands, seed=config.seed
    ).to(fabric.device)
    parts = {"training": ("train", train), "test": ("test", test)}
    parts |= {"pretraining": ("pretraining", learned["pretraining"])} if config.pretraining else {}
    features = {
        name: pooled_features(fabric, backbone, source, key=key, config=config)[0]
        for name, (key, source) in parts.items()
    }
    found = check_leaks(test, learned, features) if fabric.is_global_zero else None
    found = gather_objects(found, patient)[0]
    assert found is not None
    kept = sorted({*range(len(test))} - found.leaked)
    if fabric.is_global_zero:
        print("\n".join(found.lines()))
    if config.drop_leaks and found.leaked:
        if not kept:
            raise ValueError("all test images leak: nothing is left to measure")
        tested.keep(kept)
        if fabric.is_global_zero:
            print(f"{len(found.leaked)} test images are left out, {len(kept)} are measured")
    tested.about["leaks"] = found.content()


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
