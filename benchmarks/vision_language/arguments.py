"""The arguments of ``tools/evaluate_clip.py``; nothing heavy is imported here."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cmid.boundary import add_traceback_option

# As in cmid.vision_language.clip.dense_attention, which takes seconds to import.
DENSE_MODES = (
    "vanilla",
    "maskclip",
    "maskclip_published",
    "sclip",
    "sclip_published",
    "clearclip",
    "segearth",
)

DESCRIPTION = """\
Evaluate image-text models: one task on your data, or a whole suite with a report.

    python tools/evaluate_clip.py zero_shot    FOLDER        --model SPEC [SPEC ...]
    python tools/evaluate_clip.py retrieval    CAPTIONS      --model SPEC
    python tools/evaluate_clip.py segmentation FOLDER        --model SPEC --vocabulary LIST
    python tools/evaluate_clip.py regions      COCO.json     --model SPEC
    python tools/evaluate_clip.py --suite scenes|real --model SPEC [SPEC ...] --out DIR

SPEC is a folder that tools/train_clip.py exports, a checkpoint (.ckpt), NAME of an open_clip model
(untrained), or NAME:TAG or NAME:FILE.safetensors for its weights. All data may be 'scenes', which
are generated. --out DIR writes report.md, report.html (with painted maps) and results.json.
'python tools/evaluate_clip.py TASK --help' tells the options of a task.
Needs the extra vision-language; configurations of mmsegmentation need the extra openmmlab.
"""


def _number(kind: type[int] | type[float], least: float, most: float = math.inf) -> Any:
    """A type of arguments: a number in a range."""

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = kind("nan") if kind is float else kind(least) - 1
        if not least <= value <= most:
            name = "whole number" if kind is int else "number"
            limit = f"of {least:g} or more" if most == math.inf else f"from {least:g} to {most:g}"
            raise argparse.ArgumentTypeError(f"{text!r} is not a {name} {limit}")
        return value

    return read


def _common(*, required: bool) -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    group = common.add_argument_group("models and output")
    group.add_argument("--model", nargs="+", metavar="SPEC", required=required, default=[])
    group.add_argument("--out", type=Path, metavar="DIR", help="folder of the report")
    group.add_argument(
        "--pictures", type=_number(int, 0), default=4, help="painted maps a model and data set"
    )
    group.add_argument(
        "--dense_mode",
        choices=DENSE_MODES,
        help="read-out of the patches of a transformer: vanilla is its last block as it is; the"
        " others have another attention, without residual and MLP but for maskclip_published and"
        " sclip_published, which keep them as those methods do (default: the model's own, or"
        " segearth)",
    )
    group.add_argument("--cache", type=Path, help="folder for embeddings of texts")
    group.add_argument("--device", help="cpu, cuda, ... (default: cuda where there is one)")
    group.add_argument("--batch_size", type=_number(int, 1), default=64)
    group.add_argument("--num_workers", type=_number(int, 0), default=0)
    group.add_argument("--scenes", type=_number(int, 1), default=200, help="how many, if generated")
    group.add_argument(
        "--scene_size",
        type=_number(int, 16),
        help="their pixels per side (default: the model's size)",
    )
    return common


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[_common(required=False)],
    )
    parser.add_argument("--suite", choices=["scenes", "real"], help="all tasks, instead of one")
    parser.add_argument("--data_root", default="data", help="of --suite real (default: data)")
    tasks = parser.add_subparsers(dest="task", metavar="TASK")
    parents = [_common(required=True)]
    _add_zero_shot(tasks.add_parser("zero_shot", parents=parents, help="classify whole images"))
    _add_retrieval(tasks.add_parser("retrieval", parents=parents, help="images, captions"))
    _add_segmentation(tasks.add_parser("segmentation", parents=parents, help="pixels by names"))
    _add_regions(tasks.add_parser("regions", parents=parents, help="boxes by names"))
    add_traceback_option(parser, *tasks.choices.values())
    return parser


def _add_templates(task: argparse.ArgumentParser, default: str) -> None:
    task.add_argument(
        "--templates",
        default=default,
        help="satellite, aerial, plain, imagenet (80 of CLIP), a text with {}, or a file"
        " (default: %(default)s)",
    )


def _add_fit(task: argparse.ArgumentParser) -> None:
    task.add_argument(
        "--fit",
        choices=["crop", "squash"],
        default="crop",
        help="how an image becomes a square (default: %(default)s, from the centre)",
    )


def _add_on_error(task: argparse.ArgumentParser) -> None:
    task.add_argument(
        "--on_error",
        choices=["error", "skip"],
        default="error",
        help="a faulty entry: stop, or count and leave out (default: %(default)s)",
    )


def _add_zero_shot(task: argparse.ArgumentParser) -> None:
    task.add_argument("data", help="a folder a class, a list with labels, or 'scenes'")
    task.add_argument(
        "--names",
        help="class names: a set (aid, eurosat, fmow, million_aid, pattern_net, resisc45,"
        " rsi_cb256, skyscript, ucm) or a file; default: names of the folders",
    )
    _add_templates(task, "satellite")
    task.add_argument("--split_file", help="JSON lines with image and split")
    task.add_argument("--split", default="test", help="of --split_file (default: %(default)s)")
    _add_fit(task)


def _add_retrieval(task: argparse.ArgumentParser) -> None:
    task.add_argument("data", help="a file of captions (.jsonl, .csv, Karpathy .json) or 'scenes'")
    task.add_argument("--images", help="folder that its paths start from")
    task.add_argument(
        "--split", help="or 'all' (default: test where the file tells splits, else all of it)"
    )
    task.add_argument(
        "--caption_column",
        help="of a table (default: captions, caption, title, text or sentence; where there are"
        " several, one has to be named, but for SkyScript's, of which title_multi_objects is read)",
    )
    task.add_argument(
        "--protocol",
        choices=["skyscript", "rsicd", "rsitmd", "ucm"],
        help="the column that this benchmark's protocol reads in its published tables",
    )
    _add_on_error(task)
    task.add_argument("--prefix", default="a satellite image. ", help="default: '%(default)s'")
    task.add_argument(
        "--identity",
        choices=["name", "pixels"],
        default="name",
        help="what makes two images one (default: %(default)s)",
    )
    _add_fit(task)


def _add_segmentation(task: argparse.ArgumentParser) -> None:
    task.add_argument(
        "data",
        help="folder with img_dir and ann_dir, a configuration of mmsegmentation (.py), or"
        " 'scenes'",
    )
    task.add_argument(
        "--vocabulary",
        help="open_earth_map, loveda, potsdam, vaihingen, isaid, udd5, vdd, uavid, roads, scenes,"
        " or a file: a line a class in the masks' order, synonyms with commas"
        " (default: the names of a configuration's dataset)",
    )
    task.add_argument("--background", help="class of unsure pixels (default: the list's own)")
    task.add_argument(
        "--zero_ignored",
        action="store_true",
        help="masks hold 1 to K, and 0 where ignored (a configuration knows it itself)",
    )
    task.add_argument(
        "--foreground",
        type=int,
        metavar="LABEL",
        help="label of the second of two classes, such as 255 of black and white masks",
    )
    _add_templates(task, "imagenet")
    task.add_argument(
        "--part",
        help="sub-folder of both folders, such as val; of a"
        " configuration train, val or test (default: test)",
    )
    task.add_argument(
        "--long_side", type=_number(int, 1), help="pixels (default: twice the model's size)"
    )
    task.add_argument(
        "--resize",
        choices=["antialias", "bilinear"],
        default="antialias",
        help="to the long side: bicubic with antialiasing, or as published bilinear without"
        " (default: %(default)s)",
    )
    task.add_argument(
        "--stride", type=_number(int, 1), help="of windows (default: half the model's size)"
    )
    task.add_argument(
        "--scale", type=_number(float, 0), default=50.0, help="0: the model's (default: 50)"
    )
    task.add_argument(
        "--threshold", type=_number(float, 0, 1), default=0.0, help="below it is background"
    )
    task.add_argument(
        "--cls_weight",
        type=_number(float, 0),
        default=0.0,
        help="share of the CLS feature to take off",
    )


def _add_regions(task: argparse.ArgumentParser) -> None:
    task.add_argument("data", help="JSON file of COCO's form, or 'scenes'")
    task.add_argument("--images", help="folder of its images (default: FILE without .json)")
    _add_on_error(task)
    _add_templates(task, "satellite")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse a command line; one that makes no sense ends the process with its usage."""
    parser = _parser()
    args = parser.parse_args(arguments)
    if bool(args.suite) == bool(args.task):
        parser.error("give a task (zero_shot, retrieval, segmentation, regions) or --suite")
    if not args.model:
        parser.error("--model is needed")
    if args.suite and args.out is None:
        parser.error("--suite needs --out")
    return args
