"""What is imported is declared: each requirement of pyproject.toml does what it promises, alone.

Every process below has only the distributions that one requirement brings. The others look as if
they were not installed, although the environment of the tests has them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from tests.declared import ROOT, Outcome, closure, declared, run_with

CORE, EXTRAS = declared()
BACKBONE = "test_resnet.r160_in1k"  # timm's smallest
# Where an extra is tested alone; "dev" is what these tests run in.
TESTED = {
    *("baselines", "captions", "dev", "docs", "evaluation", "geo", "onnx", "openmmlab"),
    *("multimodal", "scoring", "search", "vision-language", "wandb"),
}
FILTERED = ["--out", "selection.parquet", "--engine", "ray"]
# The default of tools/pretrain.py for two steps.
PRETRAIN = [
    "--data.source.init_args.num_images=8",
    "--data.knn_train.init_args.num_images=20",
    "--data.knn_val.init_args.num_images=10",
    "--data.batch_size=4",
    "--data.num_workers=1",
    "--model.num_prototypes=16",
    "--model.queue_size=16",
    "--trainer.max_steps=2",
    "--trainer.log_every_n_steps=1",
]
FINETUNE = [
    "--data.root=tiny",
    "--data.num_workers=0",
    "--data.batch_size=4",
    "--trainer.max_steps=2",
]
CLIP = [
    "--data.source.init_args.num_images=8",
    "--zero_shot.source.init_args.num_images=8",
    "--data.batch_size=4",
    "--data.num_workers=1",
    "--trainer.max_steps=2",
]
GRPO = [
    "--num_scenes=3",
    "--scene_answerer.num_scenes=4",
    "--scene_answerer.steps=2",
    "--scene_answerer.width=32",
    "--scene_answerer.depth=1",
    "--trainer.max_steps=1",
    "--trainer.max_completion_length=4",
    "--trainer.per_device_train_batch_size=5",
]
CANDIDATES = [
    *("--candidates", ROOT / "docs/preferences/candidates.json"),
    *("--images", ROOT / "docs/preferences/images"),
]
SCORER = [
    "--data.source.init_args.num_images=16",
    "--held_out.source.init_args.num_images=16",
    "--data.batch_size=4",
    "--trainer.max_steps=2",
]
CLASSIFY = [
    "train_cfg.max_epochs=2",
    "train_dataloader.dataset.num_scenes=40",
    "val_dataloader.dataset.num_scenes=40",
    "test_dataloader.dataset.num_scenes=40",
]
IMPORT_ALL = """
import importlib, pkgutil, cmid
names = [module.name for module in pkgutil.walk_packages(cmid.__path__, "cmid.")]
assert len(names) > 80
for name in names:
    importlib.import_module(name)
"""
MULTISPECTRAL = f"""
from cmid.data.statistics import ChannelStatistics
from cmid.export import to_timm
from cmid.models import MaskedEncoder
values = dict(mean=(0.5,) * 4, std=(0.3,) * 4, low=(0.0,) * 4, high=(4000.0,) * 4)
statistics = ChannelStatistics(**values, dtype="float32", kind="uint16")
encoder = MaskedEncoder("{BACKBONE}", img_size=32, in_chans=4)
to_timm(encoder, "backbone", statistics=statistics)
"""
ASK = """
from cmid.boundary import error_boundary
from cmid.multimodal import MultimodalConfig, build_model, load, save_model
from cmid.multimodal.language import AdapterConfig, LanguageConfig
with error_boundary():
    language = LanguageConfig("tiny:llama:32x1", "bytes", AdapterConfig(rank=2))
    save_model(build_model(MultimodalConfig(language=language)), "model")
    print(len(load("model").generate(["what?"], max_tokens=2)), "answer")
"""
CAPTIONS = """
from cmid.evaluation.answers import Question, judge, measure
asked = [Question("said", "caption", "what?", (text,), text) for text in ("a farm", "two ports")]
print(*(each.name for each in measure([(one, judge(one, one.name)) for one in asked])))
"""

Command = Sequence[str | Path]


def allowed(extra: str | None = None) -> set[str]:
    """Distributions of the core, or of the core and one extra; skips where that is not here."""
    found, missing = closure([*CORE, *(EXTRAS[extra] if extra else ())])
    if missing and extra:
        pytest.skip(f"extra {extra} is not installed")
    assert not missing, f"not installed: {missing}"
    return found


def succeed(commands: Sequence[Command], *, extra: str | None, folder: Path) -> list[str]:
    """Run commands with the core and an extra; what they printed."""
    outcomes = run_with(allowed(extra), commands, folder=folder)
    for command, outcome in zip(commands, outcomes, strict=True):
        assert outcome.status == 0, f"{command[:3]}: {outcome.printed[-3000:]}"
    return [outcome.printed for outcome in outcomes]


def assert_names_extra(outcome: Outcome, extra: str) -> None:
    """The command ended with status 1 and one line that says what to install."""
    assert outcome.status == 1, outcome.printed
    assert "Traceback" not in outcome.printed
    last = outcome.printed.strip().splitlines()[-1]
    assert f"pip install 'cmid[{extra}]'" in last or f"make {extra}" in last, outcome.printed


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small exported backbone with random weights."""
    from cmid.export import to_timm
    from cmid.models import MaskedEncoder

    folder = tmp_path_factory.mktemp("backbone") / "backbone"
    return to_timm(MaskedEncoder(BACKBONE, img_size=32), folder)


@pytest.fixture(scope="module")
def rasters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a GeoTIFF of four bands."""
    rasterio = pytest.importorskip("rasterio")
    folder = tmp_path_factory.mktemp("rasters")
    pixels = np.random.default_rng(0).integers(1, 4000, (4, 64, 64), dtype=np.uint16)
    shape = {"count": 4, "height": 64, "width": 64, "dtype": "uint16", "crs": "EPSG:32632"}
    transform = rasterio.transform.from_origin(500000, 5000000, 10, 10)
    with rasterio.open(
        folder / "scene.tif", "w", driver="GTiff", transform=transform, **shape
    ) as file:
        file.write(pixels)
    return folder


def test_every_extra_is_tested_alone() -> None:
    assert set(EXTRAS) == TESTED


def test_the_core_pretrains_evaluates_finetunes_exports_and_draws(tmp_path: Path) -> None:
    scenes = ["--train", "20", "--val", "10", "--size", "32"]
    boxes = ["--coco", "boxes/train.json", "--images", "boxes/train"]
    made = "run/backbone"
    commands: list[Command] = [
        ["-c", IMPORT_ALL],
        ["tools/make_scenes.py", "--task", "classification", "--out", "tiny", *scenes],
        ["tools/make_scenes.py", "--task", "detection", "--out", "boxes", *scenes],
        ["tools/pretrain.py", "--run_dir", "run", *PRETRAIN],
        ["tools/evaluate.py", made, "tiny", "--tasks", "knn", "retrieval"],
        ["tools/finetune.py", "--model.backbone", made, "--run_dir", "tuned", *FINETUNE],
        ["tools/export.py", made, "resnet.safetensors", "--format", "torchvision"],
        ["tools/export.py", made, "resnet.pth", "--format", "mmseg"],
        ["tools/visualize.py", "pca", made, "tiny/val", "--out", "pca.png", "--count", "2"],
        ["tools/compute_stats.py", "tiny/train", "--out", "stats.json"],
        ["tools/convert_regions.py", *boxes, "--out", "regions.json"],
    ]
    printed = succeed(commands, extra=None, folder=tmp_path)
    assert "kNN accuracy" in printed[3]
    assert "knn" in printed[4]
    model = timm.create_model(f"local-dir:{tmp_path / made}", pretrained=True, num_classes=0)
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, model.num_features)


def test_commands_that_need_an_extra_name_it_where_it_is_missing(
    backbone: Path, rasters: Path, tmp_path: Path
) -> None:
    scenes = tmp_path / "scenes"
    for name in ("a", "b"):
        (scenes / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (32, 32), (60 * number, 0, 0)).save(scenes / name / f"{number}.png")
    mmseg = ROOT / "configs/segmentation/upernet_resnet18_scenes.py"
    draw = ["tools/visualize.py", "embedding", backbone, scenes, "--out", "picture.png"]
    source = ["--data.source.class_path", "RasterWindows", "--data.source.init_args.paths", rasters]
    compare = ["-m", "benchmarks.baselines.compare", "--out", "out", "--eurosat", scenes]
    bands = ["--out", "four", "--train", "1", "--val", "1", "--bands", "4"]
    suite = ["--suite", "scenes", "--tasks", "classification", "--out", "report"]
    over_map = ["--kind", "features", "--features", rasters / "scene.tif"]
    expected: list[tuple[str, Command]] = [
        ("geo", ["tools/compute_stats.py", rasters, "--window", "16", "--out", "stats.json"]),
        ("geo", ["tools/pretrain.py", "--run_dir", "run", *source]),
        ("geo", ["tools/make_scenes.py", "--task", "segmentation", *bands]),
        ("geo", ["tools/make_instructions.py", rasters, *over_map, "--out", "map.json"]),
        ("geo", ["tools/map.py", backbone, rasters, "--out", "maps"]),
        ("search", ["tools/search.py", "build", "embeddings.tif", "--out", "index"]),
        ("evaluation", ["tools/evaluate.py", backbone, scenes, "--tasks", "clustering"]),
        ("evaluation", draw),
        ("evaluation", [*draw, "--method", "umap"]),
        ("onnx", ["tools/export.py", backbone, "model.onnx", "--format", "onnx"]),
        ("vision-language", ["tools/train_clip.py", "--run_dir", "clip"]),
        ("vision-language", ["tools/evaluate_clip.py", "retrieval", "scenes", "--model", "RN50"]),
        ("vision-language", ["tools/train_scorer.py", "--run_dir", "scorer", *SCORER]),
        ("scoring", ["tools/train_grpo.py", "--run_dir", "rewarded"]),
        ("scoring", ["tools/make_preferences.py", *CANDIDATES, "--judge", "openai:m"]),
        ("scoring", ["tools/filter_pairs.py", "scenes:4", "--scorer", "none", *FILTERED]),
        ("multimodal", ["-c", ASK]),
        ("openmmlab", ["tools/train.py", mmseg, "--backbone", backbone]),
        ("openmmlab", ["tools/test.py", mmseg, backbone / "config.json"]),
        ("openmmlab", ["tools/benchmark.py", "--backbone", backbone, *suite]),
        ("wandb", ["tools/pretrain.py", "--run_dir", "logged", *PRETRAIN, "--wandb", "mine"]),
        ("wandb", ["tools/finetune.py", "--model.backbone", backbone, "--wandb", "mine"]),
        ("baselines", ["tools/pretrain.py", "--model.class_path", "benchmarks.baselines.BYOL"]),
        ("baselines", compare),
    ]
    outcomes = run_with(allowed(), [command for _, command in expected], folder=tmp_path)
    for (extra, command), outcome in zip(expected, outcomes, strict=True):
        assert outcome.status == 1, (command[:3], outcome.printed[-3000:])
        assert_names_extra(outcome, extra)
    # Without captions a score is left out, which the protocol says.
    assert {extra for extra, _ in expected} == TESTED - {"captions", "dev", "docs"}


def test_geo_reads_windows_of_rasters(rasters: Path, tmp_path: Path) -> None:
    window = ["--window", "16", "--bands", "2", "3"]
    scenes = ["--train", "1", "--val", "1", "--size", "32", "--bands", "4"]
    commands: list[Command] = [
        ["tools/compute_stats.py", rasters, *window, "--out", "stats.json"],
        ["tools/make_scenes.py", "--task", "change_detection", "--out", "pairs", *scenes],
        ["-m", "benchmarks.change_detection.tiling", "pairs/train", "tiles", "--size", "16"],
        ["tools/pack_rasters.py", "pairs/train/A", "--out", "packed"],
        [
            "tools/map.py",
            f"random:{BACKBONE}",
            "packed",
            "--out",
            "maps",
            "--tile",
            "32",
            "--vectors",
        ],
    ]
    printed = succeed(commands, extra="geo", folder=tmp_path)
    assert "16 images (0 unreadable)" in printed[0]


def test_search_finds_places_of_a_map(rasters: Path, tmp_path: Path) -> None:
    bands = ["--bands", "1", "2", "3", "4"]
    model = ["-c", MULTISPECTRAL]
    made = ["tools/map.py", "backbone", rasters, "--out", "maps", "--tile", "32", *bands]
    commands: list[Command] = [
        model,
        made,
        ["tools/search.py", "build", "maps/embeddings.tif", "--out", "index"],
        ["tools/search.py", "query", "index", "--point", "500300", "4999700", "--out", "hits"],
        ["-c", "import sklearn.linear_model"],
    ]
    printed = succeed(commands, extra="search", folder=tmp_path)
    assert "hits.png" in printed[3]


def test_evaluation_clusters_and_maps(backbone: Path, tmp_path: Path) -> None:
    scenes = ["--train", "20", "--val", "10", "--size", "32"]
    commands: list[Command] = [
        ["tools/make_scenes.py", "--task", "classification", "--out", "tiny", *scenes],
        ["tools/evaluate.py", backbone, "tiny", "--tasks", "clustering"],
        ["tools/visualize.py", "embedding", backbone, "tiny/train", "--out", "map.png"],
        ["-c", "from umap import UMAP"],  # fitting compiles it for long
    ]
    printed = succeed(commands, extra="evaluation", folder=tmp_path)
    assert "NMI" in printed[1]


def test_captions_are_measured_by_cider_too(tmp_path: Path) -> None:
    for extra, scores in ((None, "ROUGE-L"), ("captions", "ROUGE-L CIDEr")):
        (printed,) = succeed([["-c", CAPTIONS]], extra=extra, folder=tmp_path)
        assert printed.strip().endswith(scores)


def test_onnx_exports_what_onnxruntime_agrees_with(backbone: Path, tmp_path: Path) -> None:
    command = ["tools/export.py", backbone, "model.onnx", "--format", "onnx"]
    (printed,) = succeed([command], extra="onnx", folder=tmp_path)
    assert "onnxruntime agrees" in printed


def test_vision_language_trains_and_evaluates_a_clip(tiny_clip_64: str, tmp_path: Path) -> None:
    config = tmp_path / "mmseg.py"
    config.write_text("")
    evaluate = ["--model", "run/clip", "--scenes", "10"]
    ours = ["tools/evaluate_clip.py", "segmentation", config, "--model", "run/clip"]
    commands: list[Command] = [
        ["tools/train_clip.py", "--run_dir", "run", "--model.clip.name", tiny_clip_64, *CLIP],
        ["tools/evaluate_clip.py", "zero_shot", "scenes", *evaluate],
        ["tools/evaluate_clip.py", "regions", "scenes", *evaluate],
        ["tools/export.py", "run/checkpoints/step-00000002.ckpt", "half", "--format", "clip"],
        ["tools/train_scorer.py", "--run_dir", "s", "--model.start.clip", "run/clip", *SCORER],
        ours,
    ]
    outcomes = run_with(allowed("vision-language"), commands, folder=tmp_path)
    for command, outcome in zip(commands[:-1], outcomes[:-1], strict=True):
        assert outcome.status == 0, f"{command[:3]}: {outcome.printed[-3000:]}"
    assert_names_extra(outcomes[-1], "openmmlab")


def test_multimodal_answers_saves_and_adapts(tmp_path: Path) -> None:
    chat = "from cmid.multimodal.chat.page import import_gradio; import_gradio()"
    printed, _ = succeed([["-c", ASK], ["-c", chat]], extra="multimodal", folder=tmp_path)
    assert printed.endswith("1 answer\n")


def test_scoring_trains_by_rewards_picks_answers_makes_preferences_and_filters(
    tiny_clip: str, tmp_path: Path
) -> None:
    from cmid.vision_language.clip.building import build_clip
    from cmid.vision_language.clip.config import CLIPConfig
    from cmid.vision_language.clip.storage import save_clip

    clip = save_clip(build_clip(CLIPConfig(tiny_clip)), tmp_path / "clip")
    answer = ["--model", "run/model", "--n", "2", "--num_scenes", "2", "--max_new_tokens", "4"]
    commands: list[Command] = [
        ["tools/train_grpo.py", "--run_dir", "run", *GRPO],
        ["tools/best_of_n.py", "scenes", "--out", "picked", *answer],
    ]
    judge = ["--judge", "run/model", "--max_new_tokens", "4", "--attempts", "1"]
    commands += [
        ["tools/make_preferences.py", *CANDIDATES, *judge, "--captioners", "run/model"],
        ["tools/filter_pairs.py", "scenes:8", "--scorer", clip, *FILTERED[:2]],
        ["-c", "import faiss, openai, pyarrow.parquet"],
    ]
    printed = succeed(commands, extra="scoring", folder=tmp_path)
    assert "mean reward" in printed[0]
    assert "oracle" in printed[1]
    assert "1 preferences of" in printed[2]
    assert "selection: selection.parquet" in printed[3]


def test_openmmlab_trains_and_tests_a_classifier(backbone: Path, tmp_path: Path) -> None:
    config = ROOT / "configs/classification/mmpretrain_scenes.py"
    small = ["--backbone", backbone, "--work_dir", "work", "--cfg_options", *CLASSIFY]
    commands: list[Command] = [
        ["tools/train.py", config, *small],
        ["tools/test.py", config, "work/epoch_2.pth", *small],
    ]
    succeed(commands, extra="openmmlab", folder=tmp_path)


def test_baselines_train(tmp_path: Path) -> None:
    method = ["--model.class_path", "benchmarks.baselines.DINO", "--model.num_prototypes", "16"]
    options = [option for option in PRETRAIN if not option.startswith("--model.")]
    train = ["tools/pretrain.py", "--run_dir", "run", *method, *options]
    succeed([train], extra="baselines", folder=tmp_path)


@pytest.mark.slow
def test_docs_are_written_without_a_warning_and_without_any_other_extra(tmp_path: Path) -> None:
    build = ["-m", "mkdocs", "build", "--strict", "--config-file", ROOT / "mkdocs.yml"]
    succeed([[*build, "--site-dir", tmp_path / "site"]], extra="docs", folder=tmp_path)
    documented = {page.parent.name for page in (tmp_path / "site/api").glob("*/index.html")}
    rooms = {f"cmid.{path.parent.name}" for path in (ROOT / "cmid").glob("*/__init__.py")}
    assert rooms <= documented
    assert (
        'id="cmid.evaluation.knn.knn_scores"'
        in (tmp_path / "site/api/cmid.evaluation/index.html").read_text()
    )
