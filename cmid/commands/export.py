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

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cmid.command_line import command
from cmid.options import at_least

if TYPE_CHECKING:
    from cmid.checkpoints import StoredEncoder


_OF_PUBLISHED = ("architecture", "img_size", "mean", "std", "low", "high")


@dataclass(frozen=True)
class ExportConfig:
    """An encoder and the form that it is written in.

    Attributes:
        source: Lightning checkpoint (.ckpt) of CMID, or of tools/train_clip.py; published
            checkpoint (.pth, .safetensors or the index of a sharded one) of CMID, MAE, SimMIM,
            MoCo-v2, MoCo-v3, DINO, iBOT or SeCo, or plain ResNet, Swin, ViT or ConvNeXt weights
            (OpenMMLab's, too); exported folder.
        out: folder or file to write.
        format: format to write.
        which: role of an encoder in a checkpoint of ours, such as student or teacher of CMID
            (default: the one that its method exports); of a published file with several networks
            the name of one, as printed (model_ema, encoder_k, ...).
        overwrite: replace an earlier timm export.
        wise_ft: format clip: share of the trained weights, the rest is the model that training
            started from.
        architecture: timm's name of a published checkpoint (default: by the weights' shapes).
        img_size: pixels per side of a published checkpoint (default: by the weights).
        mean: for a published checkpoint, mean of values in 0..1, one for each band or one for all.
        std: the same (default of RGB: MillionAID's for CMID, else ImageNet's).
        low: for a published checkpoint, stored value that becomes 0 (default: 0).
        high: for a published checkpoint, stored value that becomes 1 (default: 255).
    """

    source: str
    out: str
    format: Literal[
        "timm", "onnx", "torchvision", "mmseg", "mmdet", "mmrotate", "mmpretrain", "clip"
    ] = "timm"
    which: str | None = None
    overwrite: bool = False
    wise_ft: float = 1.0
    architecture: str | None = None
    img_size: Annotated[int, at_least(1)] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.overwrite and self.format != "timm":
            raise ValueError("--overwrite is of format timm: a file is replaced anyway")
        if self.wise_ft != 1 and self.format != "clip":
            raise ValueError("--wise_ft is of format clip: give --format clip, or leave it out")
        if Path(self.source).is_dir() or self.format == "clip":
            self.refuse("which", *_OF_PUBLISHED)

    def refuse(self, *names: str) -> None:
        """Raise ValueError where one of these options was given, which the source leaves unused."""
        if given := [f"--{name}" for name in names if getattr(self, name) is not None]:
            raise ValueError(f"{', '.join(given)}: {self.source} tells that itself; leave it out")


@command(ExportConfig, memory="--img_size")
def main(config: ExportConfig) -> None:
    """Export, print how to load the result."""
    # After parsing: --help and typing errors answer at once.
    from cmid.checkpoints import identify_file
    from cmid.checkpoints.exports import ExportedEncoder
    from cmid.checkpoints.published import PublishedEncoder, describe
    from cmid.export import to_onnx, to_openmmlab, to_timm, to_torchvision
    from cmid.views.colour import Standardize

    if config.format == "clip":
        from cmid.vision_language.clip.storage import export_checkpoint

        export_checkpoint(config.source, config.out, alpha=config.wise_ft)
        print(f'model = open_clip.create_model("local-dir:{config.out}")')
        return
    stored: StoredEncoder
    if Path(config.source).is_dir():
        stored = ExportedEncoder.open(config.source)
    else:
        stored = identify_file(
            config.source,
            which=config.which,
            architecture=config.architecture,
            img_size=config.img_size,
        )
    encoder = stored.build()
    if not isinstance(stored, PublishedEncoder):
        config.refuse(*_OF_PUBLISHED)
    else:
        print(describe(encoder, stored.provenance))
        given = {name: getattr(config, name) for name in ("mean", "std", "low", "high")}
        stored = stored.standardised(**given)
    if config.format == "onnx":
        print(f"wrote {to_onnx(encoder, config.out)}; onnxruntime agrees with torch")
    elif config.format == "torchvision":
        to_torchvision(encoder, config.out)
        print(f'model.load_state_dict(safetensors.torch.load_file("{config.out}"), strict=False)')
    elif config.format != "timm":
        native = to_openmmlab(encoder, config.format)
        print(native.describe(native.save(config.out), Standardize(stored.statistics)))
    elif isinstance(stored, ExportedEncoder):
        raise ValueError(f"{config.source} is a timm export already")
    else:
        to_timm(
            encoder,
            config.out,
            statistics=stored.statistics,
            provenance=stored.provenance,
            overwrite=config.overwrite,
        )
    if config.format == "timm":
        print(f'model = timm.create_model("local-dir:{config.out}", pretrained=True)')
