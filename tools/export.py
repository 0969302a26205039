"""Export an encoder: a checkpoint of ours, a published one, or an earlier export.

python tools/export.py SOURCE OUT --format timm         a folder that timm.create_model loads
python tools/export.py SOURCE OUT.onnx --format onnx    pooled and dense features, checked
python tools/export.py SOURCE OUT.safetensors --format torchvision    ResNets
python tools/export.py SOURCE OUT.pth --format mmseg    OpenMMLab's own ResNet, Swin, ViT, ConvNeXt
python tools/export.py CHECKPOINT OUT --format clip     a folder that open_clip loads

The formats mmseg, mmdet, mmrotate and mmpretrain print the lines of a configuration that load OUT,
.pth or .safetensors.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cmid.boundary import add_traceback_option, error_boundary

if TYPE_CHECKING:
    from cmid.checkpoints import StoredEncoder

NATIVE = ("mmseg", "mmdet", "mmrotate", "mmpretrain")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "source",
        help="Lightning checkpoint (.ckpt) of CMID, or of tools/train_clip.py; published"
        " checkpoint (.pth, .safetensors or the index of a sharded one) of CMID, MAE, SimMIM,"
        " MoCo-v2, MoCo-v3, DINO, iBOT or SeCo, or plain ResNet, Swin, ViT or ConvNeXt weights"
        " (OpenMMLab's, too); exported folder",
    )
    parser.add_argument("out", help="folder or file to write")
    parser.add_argument(
        "--format",
        choices=["timm", "onnx", "torchvision", *NATIVE, "clip"],
        default="timm",
        help="default: %(default)s",
    )
    parser.add_argument(
        "--which",
        metavar="NAME",
        help="role of an encoder in a checkpoint of ours, such as student or teacher of CMID"
        " (default: the one that its method exports); of a published file with several networks the"
        " name of one, as printed (model_ema, encoder_k, ...)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier timm export")
    parser.add_argument(
        "--wise_ft",
        type=float,
        default=1.0,
        metavar="ALPHA",
        help="format clip: share of the trained weights, the rest is the model that training"
        " started from (default: %(default)s)",
    )
    published = parser.add_argument_group("published checkpoints")
    published.add_argument("--architecture", help="timm's name (default: by the weights' shapes)")
    published.add_argument("--img_size", type=int, help="pixels per side (default: by the weights)")
    published.add_argument(
        "--mean", type=float, nargs="+", help="of values in 0..1, one for each band or one for all"
    )
    published.add_argument(
        "--std",
        type=float,
        nargs="+",
        help="(default of RGB: MillionAID's for CMID, else ImageNet's)",
    )
    published.add_argument(
        "--low", type=float, nargs="+", help="stored value that becomes 0 (default: 0)"
    )
    published.add_argument(
        "--high", type=float, nargs="+", help="stored value that becomes 1 (default: 255)"
    )
    add_traceback_option(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, export, print how to load the result."""
    args = _parser().parse_args(arguments)
    with error_boundary("export", traceback=args.traceback, memory="--img_size"):
        _export(args)


def _export(args: argparse.Namespace) -> None:
    # After parsing: --help and typing errors answer at once.
    from cmid.checkpoints import identify_file
    from cmid.checkpoints.exports import ExportedEncoder
    from cmid.checkpoints.published import PublishedEncoder, describe
    from cmid.export import to_onnx, to_openmmlab, to_timm, to_torchvision
    from cmid.views.colour import Standardize

    if args.format == "clip":
        from cmid.vision_language.clip.storage import export_checkpoint

        export_checkpoint(args.source, args.out, alpha=args.wise_ft)
        print(f'model = open_clip.create_model("local-dir:{args.out}")')
        return
    stored: StoredEncoder
    if Path(args.source).is_dir():
        stored = ExportedEncoder.open(args.source)
    else:
        stored = identify_file(
            args.source, which=args.which, architecture=args.architecture, img_size=args.img_size
        )
    encoder = stored.build()
    if isinstance(stored, PublishedEncoder):
        print(describe(encoder, stored.provenance))
        given = {name: getattr(args, name) for name in ("mean", "std", "low", "high")}
        stored = stored.standardised(**given)
    if args.format == "onnx":
        print(f"wrote {to_onnx(encoder, args.out)}; onnxruntime agrees with torch")
    elif args.format == "torchvision":
        to_torchvision(encoder, args.out)
        print(f'model.load_state_dict(safetensors.torch.load_file("{args.out}"), strict=False)')
    elif args.format in NATIVE:
        native = to_openmmlab(encoder, args.format)
        print(native.describe(native.save(args.out), Standardize(stored.statistics)))
    elif isinstance(stored, ExportedEncoder):
        raise ValueError(f"{args.source} is a timm export already")
    else:
        to_timm(
            encoder,
            args.out,
            statistics=stored.statistics,
            provenance=stored.provenance,
            overwrite=args.overwrite,
        )
    if args.format == "timm":
        print(f'model = timm.create_model("local-dir:{args.out}", pretrained=True)')


if __name__ == "__main__":
    main()
