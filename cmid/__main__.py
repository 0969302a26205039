"""The program ``cmid``: every command of the project as a verb."""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Sequence

from cmid.command_line import choose

# Modules by name: what a verb needs is imported when it is asked for.
_VERBS = {
    "pretrain": ("cmid", "pretrain a backbone"),
    "evaluate": ("cmid", "measure frozen features"),
    "finetune": ("benchmarks", "train a scene classifier"),
    "visualize": ("cmid", "draw what a backbone has learned"),
    "export": ("cmid", "write an encoder for other libraries"),
    "compute_stats": ("cmid", "statistics of the bands of images"),
    "map": ("benchmarks", "map whole scenes"),
    "search": ("benchmarks", "search embeddings of whole scenes"),
    "pack_rasters": ("cmid", "rewrite rasters for fast reading of windows"),
    "make_scenes": ("benchmarks", "write generated scenes"),
    "prepare_detection": ("benchmarks", "prepare DOTA or DIOR"),
    "prepare_segmentation": ("benchmarks", "prepare Potsdam, Vaihingen, LoveDA or iSAID"),
    "train": ("benchmarks", "train a configuration of OpenMMLab"),
    "test": ("benchmarks", "test what train has trained"),
    "benchmark": ("benchmarks", "compare backbones on all downstream tasks"),
    "train_clip": ("cmid", "train a CLIP"),
    "train_multimodal": ("cmid", "train a multimodal language model"),
    "make_instructions": ("cmid", "make conversations about labelled images"),
    "chat": ("cmid", "chat with a multimodal model about images"),
    "train_scorer": ("cmid", "train a scorer of image-text pairs"),
    "evaluate_clip": ("benchmarks", "evaluate image-text models"),
    "filter_pairs": ("cmid", "keep the best image-text pairs"),
    "make_preferences": ("cmid", "judge captions and answers, best first"),
    "best_of_n": ("cmid", "pick the best of several answers"),
    "train_grpo": ("cmid", "train a vision-language model by rewards"),
    "convert_regions": ("benchmarks", "make region texts of detection annotations"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the verb that the command line names."""
    given = sys.argv[1:] if arguments is None else [*arguments]
    texts = {verb: text for verb, (_, text) in _VERBS.items()}
    verb, left = choose(texts, given, verb="", description=__doc__)
    pkgutil.resolve_name(f"{_VERBS[verb][0]}.commands.{verb}:main")(left)


if __name__ == "__main__":
    main()
