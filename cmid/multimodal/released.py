"""The released files of LHRS-Bot and LHRS-Bot-Nova to a folder of ours: all weights, or none.

``FINAL.pt`` holds image tower and perceiver, ``TextLoRA`` beside it the adapter of the language
model, which itself is not included. The key layout is that of the published code; the released
files were not at hand, small ones of their layout were.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from cmid.checkpoints import identify, open_weights
from cmid.checkpoints.strict import load_strictly
from cmid.data.statistics import ChannelStatistics
from cmid.files import new_folder
from cmid.multimodal.conversation import Template
from cmid.multimodal.folder import ADAPTER, ADAPTER_WEIGHTS, adapter_weights, write_parts
from cmid.multimodal.images import Fit
from cmid.multimodal.perceiver import Kind
from cmid.multimodal.published import (
    difference_from_published,
    find_kind,
    perceiver_from_published,
)
from cmid.multimodal.tokens import TemplateConfig
from cmid.multimodal.tower import LevelTower

_OPENAI = "vit_large_patch14_clip_quickgelu_224.openai"
_TOWER_NAMES = [
    (r"embeddings\.class_embedding$", "cls_token"),
    (r"embeddings\.position_embedding\.weight$", "pos_embed"),
    (r"embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"pre_layrnorm\.", "norm_pre."),
    (r"post_layernorm\.", "norm."),
    (r"encoder\.layers\.(\d+)\.self_attn\.out_proj\.", r"blocks.\1.attn.proj."),
    (r"encoder\.layers\.(\d+)\.layer_norm(\d)\.", r"blocks.\1.norm\2."),
    (r"encoder\.layers\.(\d+)\.mlp\.", r"blocks.\1.mlp."),
]
_LORA = re.compile(r"base_model\.model\..+\.lora_([AB])\.weight$")


@dataclass(frozen=True)
class System:
    """What the files of a system do not say.

    Attributes:
        queries, heads: of the perceiver.
        architecture, model_args: of the image tower, by timm.
        depth, tower_heads: its blocks, and of its attention.
        levels: blocks that are read, from 0.
        mean, std: of the bands, on values in [0, 1].
        template: of conversations. fit: how an image becomes a square.
    """

    queries: tuple[int, ...]
    heads: int
    architecture: str
    model_args: Mapping[str, Any]
    depth: int
    tower_heads: int
    levels: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    template: Template
    fit: Fit


SYSTEMS: dict[Kind, System] = {
    "lhrs_bot": System(
        queries=(64, 48, 32),
        heads=16,
        architecture="vit_large_patch14_clip_quickgelu_224",
        model_args={"num_classes": 0},
        depth=24,
        tower_heads=16,
        levels=(6, 14, 21),
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
        template="llama2",
        fit="crop",
    ),
    "nova": System(
        queries=(112, 96, 64),
        heads=8,
        architecture="vit_so400m_patch14_siglip_384",
        # timm's entry has the exact GELU, with which the levels differ.
        model_args={"num_classes": 0, "global_pool": "", "act_layer": "gelu_tanh"},
        depth=26,  # the published code deletes the last of 27
        tower_heads=16,
        levels=(8, 17, 25),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        template="llama3",
        fit="squash",
    ),
}


@dataclass
class Conversion:
    """What a conversion did: lines for the user."""

    lines: list[str] = field(default_factory=list)

    def count(self, what: str, weights: Mapping[str, Tensor], fate: str) -> None:
        """Say what became of a group of weights."""
        numbers = sum(tensor.numel() for tensor in weights.values())
        self.lines.append(f"{what}: {len(weights)} tensors, {numbers:,} parameters {fate}")


def convert_released(
    checkpoint: str | Path,
    folder: str | Path,
    *,
    language_model: str,
    tower: str | None = None,
    system: System | None = None,
) -> Conversion:
    """Convert a ``FINAL.pt`` and the ``TextLoRA`` beside it to a folder that `load` reads.

    Args:
        checkpoint: of either system; its weights tell which.
        folder: new, or empty.
        language_model: name or folder of the base model, which ``config.json`` is to name.
        tower: for a file of LHRS-Bot without all weights of its tower, which it never trains:
            whatever `cmid.checkpoints.identify` takes; None downloads OpenAI's.
        system: what the file does not say; None takes the published sizes.

    Raises:
        FileExistsError: the folder holds something.
        FileNotFoundError: no such file.
        ValueError: weights are missing, unknown or of other shapes; names them.
    """
    checkpoint = Path(checkpoint)
    towers, pooler = _parts(open_weights(checkpoint), checkpoint)
    kind = find_kind(pooler)
    system = system or SYSTEMS[kind]
    done = Conversion([f"{checkpoint} is of {kind}"])
    seeing = _tower(towers, kind, system, done, tower=tower, path=checkpoint)
    rows = seeing.network.patch_embed.grid_size
    perceiver = perceiver_from_published(
        pooler, kind=kind, queries=system.queries, heads=system.heads, grid=rows
    )
    done.count("perceiver", perceiver.state_dict(), "used")
    if perceiver.config.experts is not None:
        done.lines.append("experts: without activation, as they were trained")
    error = difference_from_published(perceiver, pooler, grid=rows)
    done.lines.append(f"perceiver against the published formulas: {error:.1e} at most")
    with new_folder(folder) as new:
        _copy_adapter(checkpoint.parent / "TextLoRA", new / ADAPTER, done)
        template = TemplateConfig(system.template, double_start=system.template == "llama3")
        write_parts(
            new,
            seeing,
            perceiver,
            about={
                "language": language_model,
                "template": asdict(template),
                "fit": system.fit,
                "provenance": {"converted": checkpoint.name, "system": kind},
            },
        )
    return done


def _parts(content: Mapping[str, Any], path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights of the tower and of the perceiver."""
    content = content.get("model", content)
    if not {"rgb_ckpt", "other_ckpt"} <= content.keys():
        raise ValueError(f"{path} is no FINAL.pt: its entries are {', '.join(list(content)[:5])}")
    other = content["other_ckpt"]
    if not other.get("rgb_pooler"):
        raise ValueError(f"{path} has no weights of a perceiver (other_ckpt/rgb_pooler)")
    # The embeddings are those of the base model, which was frozen.
    unknown = [
        name
        for name, weights in other.items()
        if weights and name not in ("rgb_pooler", "embed_tokens")
    ]
    if unknown:
        raise ValueError(f"{path} has unknown weights: other_ckpt/{', other_ckpt/'.join(unknown)}")
    start = re.compile(r"^(?:module\.|rgb\.)*encoder\.vision_model\.")
    towers = {start.sub("", name): tensor for name, tensor in content["rgb_ckpt"].items()}
    return towers, other["rgb_pooler"]


def _tower(
    stored: Mapping[str, Tensor],
    kind: Kind,
    system: System,
    done: Conversion,
    *,
    tower: str | None,
    path: Path,
) -> LevelTower:
    head = {name: tensor for name, tensor in stored.items() if name.startswith("head.")}
    if head:
        done.count("the tower's pooling head", head, "dropped: it was never used")
    weights = given = _timm_names({name: w for name, w in stored.items() if name not in head})
    with torch.device("meta"):
        args = dict(system.model_args) | {"depth": system.depth}
        names = timm.create_model(system.architecture, **args).state_dict().keys()
    missing = sorted(names - weights.keys())
    if missing and kind == "lhrs_bot":
        own = identify(tower or _OPENAI).weights()
        lacking = {name: own[name] for name in missing if name in own}
        done.count("tower", lacking, f"taken from {tower or _OPENAI}: the file lacks them")
        weights = lacking | weights
    elif missing:
        raise ValueError(
            f"{path} lacks {len(missing)} weights of the image tower, which Nova trained, first"
            f" {', '.join(missing[:3])}"
        )
    args |= _sizes(weights) | {"num_heads": system.tower_heads}
    network = timm.create_model(system.architecture, **args)
    load_strictly(
        network.state_dict(),
        weights,
        refusal=lambda misfit: f"{path} does not hold a {system.architecture}: {misfit}",
    )
    cut = LevelTower(
        network.eval(),
        architecture=system.architecture,
        model_args=args,
        statistics=ChannelStatistics(system.mean, system.std, (0.0,) * 3, (255.0,) * 3),
        size=args["img_size"],
        chosen=system.levels,
    )
    kept = cut.network.state_dict().keys()
    beyond = {name: tensor for name, tensor in given.items() if name not in kept}
    done.count("tower", {name: w for name, w in given.items() if name in kept}, "used")
    if beyond:
        done.count("the tower's last blocks", beyond, "dropped: deeper than what is read")
    return cut


def _timm_names(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    named, split = {}, re.compile(r"encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(\w+)$")
    for name, tensor in stored.items():
        if name == "embeddings.position_ids":
            continue
        if found := split.match(name):
            trio = [name.replace(f".{found[2]}_proj.", f".{each}_proj.") for each in "qkv"]
            if all(each in stored for each in trio):
                joined = torch.cat([stored[each] for each in trio])
                named[f"blocks.{found[1]}.attn.qkv.{found[3]}"] = joined
                continue
        for theirs, ours in _TOWER_NAMES:
            if re.match(theirs, name):
                name = re.sub(f"^{theirs}", ours, name)
                break
        lead = {"cls_token": (1, 1, -1), "pos_embed": (1, *tensor.shape)}.get(name, tensor.shape)
        named[name] = tensor.reshape(lead)
    return named


def _sizes(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of timm's vision transformer that shapes tell."""
    width, _, patch, _ = weights["patch_embed.proj.weight"].shape
    cells = weights["pos_embed"].shape[1] - ("cls_token" in weights)
    hidden = weights["blocks.0.mlp.fc1.weight"].shape[0]
    return {
        "img_size": round(cells**0.5) * patch,
        "patch_size": patch,
        "embed_dim": width,
        # timm rounds the product down.
        "mlp_ratio": hidden / width
        if int(width * (hidden / width)) == hidden
        else (hidden + 0.5) / width,
    }


def _copy_adapter(source: Path, target: Path, done: Conversion) -> None:
    if not source.is_dir():
        done.lines.append(f"no adapter: there is no {source}, as after stage 1")
        return
    weights = open_weights(adapter_weights(source))
    config = json.loads((source / "adapter_config.json").read_text(encoding="utf-8"))
    for name, tensor in weights.items():
        found = _LORA.match(name)
        if found is None:
            raise ValueError(f"{source} has a weight that is no low-rank adapter's: {name}")
        other = name.replace(f".lora_{found[1]}.", f".lora_{'AB'[found[1] == 'A']}.")
        rank = tensor.shape[0 if found[1] == "A" else 1]
        if other not in weights or rank != config["r"]:
            raise ValueError(
                f"{source}: {name} of rank {rank} (r {config['r']}) lacks its other half"
            )
    target.mkdir()
    plain = {name: tensor.contiguous().clone() for name, tensor in weights.items()}
    save_file(plain, target / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    config["base_model_name_or_path"] = None
    (target / "adapter_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    done.count("adapter", weights, "used")
