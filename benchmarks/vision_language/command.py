"""What ``tools/evaluate_clip.py`` does with its arguments."""

from __future__ import annotations

import argparse

import torch

from benchmarks.vision_language.outcome import Evaluation, Options
from benchmarks.vision_language.suite import run_evaluations, suite
from benchmarks.vision_language.tasks import Regions, Retrieval, Segmentation, ZeroShot
from cmid.evaluation.open_vocabulary import Sliding
from cmid.models.dual_encoder import ImageTextModel
from cmid.vision_language.clip.storage import load_clip


def run(args: argparse.Namespace, command: str) -> None:
    """Evaluate, print the tables, write the report.

    Args:
        command: how the report says it was made.

    Raises:
        ImportError, OSError, RuntimeError, ValueError: with a one-line message.
    """
    options = Options(
        out=args.out,
        pictures=args.pictures,
        cache=args.cache,
        batch_size=args.batch_size,
        num_workers=args.num_workers,
        scenes=args.scenes,
        scene_size=args.scene_size,
    )
    device = _device(args.device)

    def load(spec: str) -> ImageTextModel:
        torch.manual_seed(0)  # of untrained models
        return load_clip(spec, dense_mode=args.dense_mode).to(device)

    tables = run_evaluations(
        suite(args.suite, args.data_root) if args.suite else [_evaluation(args)],
        args.model,
        load=load,
        options=options,
        skip_missing=bool(args.suite),
        title=f"Image-text models: {args.suite or args.task}",
        command=command,
    )
    print(tables)
    if args.out is not None:
        print(f"\nreport: {args.out / 'report.html'}")


def _device(name: str | None) -> torch.device:
    """The device of a name, by default a GPU where there is one; checked before any work.

    Raises:
        ValueError: no such device here.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"--device {name}: there is no such device here ({reason})") from error
    return device


def _evaluation(args: argparse.Namespace) -> Evaluation:
    if args.task == "zero_shot":
        return ZeroShot(
            args.data,
            names=args.names,
            templates=args.templates,
            split_file=args.split_file,
            split=args.split,
            fit=args.fit,
        )
    if args.task == "retrieval":
        return Retrieval(
            args.data,
            images=args.images,
            split=args.split,
            caption_column=args.caption_column,
            protocol=args.protocol,
            on_error=args.on_error,
            prefix=args.prefix,
            identity=args.identity,
            fit=args.fit,
        )
    if args.task == "regions":
        return Regions(
            args.data, images=args.images, templates=args.templates, on_error=args.on_error
        )
    return Segmentation(
        args.data,
        args.vocabulary,
        background=args.background,
        templates=args.templates,
        part=args.part,
        zero_ignored=args.zero_ignored,
        foreground=args.foreground,
        settings=Sliding(
            args.long_side,
            args.stride,
            args.scale or None,
            cls_weight=args.cls_weight,
            batch_size=args.batch_size,
            antialias=args.resize == "antialias",
        ),
        threshold=args.threshold,
    )
