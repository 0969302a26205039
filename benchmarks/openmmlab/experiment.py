"""A configuration of OpenMMLab, fitted to the backbone that the user names, and its runner."""

from __future__ import annotations

import argparse
import difflib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict, DictAction
from mmengine.device import get_device
from mmengine.runner import Runner, find_latest_checkpoint

from benchmarks.openmmlab.backbone import STAGES
from benchmarks.openmmlab.preflight import check_checkpoint, check_pretrained, check_strides
from cmid.checkpoints import identify
from cmid.configurations import find_configuration
from cmid.data import ChannelStatistics
from cmid.data.sensors import find_sensor
from cmid.models.intermediates import stages
from cmid.views.colour import Standardize

# What is read of a configuration besides the arguments of mmengine's runner.
_ALSO_READ = {
    *("activation_checkpointing", "compile", "efficient_conv_bn_eval", "find_unused_parameters"),
    *("model_wrapper_cfg", "sync_bn", "tta_model", "tta_pipeline", "check_pretrained"),
}
_LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
_READ = {*inspect.signature(Runner.__init__).parameters, *_ALSO_READ} - {"self", "cfg"}


def load_config(
    path: str | Path,
    *,
    backbone: str | None = None,
    options: Mapping[str, Any] | None = None,
    work_dir: str | None = None,
) -> Config:
    """Read a configuration; options win over the backbone's settings, those over the file's.

    Args:
        path: a Python file of mmengine's form.
        backbone: what `CMIDBackbone` takes as ``name``; see `use_backbone`.
        options: dotted keys and their values.
        work_dir: folder of all outputs; default ``work_dirs/NAME``.

    Raises:
        FileNotFoundError: no such file or backbone.
        ValueError: a configuration without `CMIDBackbone`, a backbone that does not fit, or an
            option that nothing would read.
    """
    path = find_configuration(path)
    if not path.is_file():
        raise FileNotFoundError(f"no configuration {path}")
    config = Config.fromfile(str(path))
    # First the options that the backbone depends on (bands), then again: they have the last word.
    if options:
        _check_options(config, options)
        config.merge_from_dict(dict(options))
    if backbone is not None:
        use_backbone(config, backbone)
        if options:
            config.merge_from_dict(dict(options))
    config.work_dir = work_dir or config.get("work_dir") or f"work_dirs/{path.stem}"
    return config


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Read ``key=value`` pairs with mmengine's own reader; raises ValueError for other texts."""
    wrong = next((pair for pair in pairs if "=" not in pair), None)
    if wrong is not None:
        raise ValueError(f"--cfg_options {wrong}: give KEY=VALUE")
    parser = argparse.ArgumentParser(usage="--cfg_options KEY=VALUE [KEY=VALUE ...]")
    parser.add_argument("--options", nargs="+", action=DictAction)
    return dict(parser.parse_args(["--options", *pairs]).options) if pairs else {}


def _check_options(config: Config, options: Mapping[str, Any]) -> None:
    """Refuse options that change nothing: misspelt ones, and variables of a file, used already."""
    for key in options:
        start = key.partition(".")[0]
        if start in _READ:
            continue
        if start in config:
            remedy = (
                f"{start} only helps to write the file, whose parts hold it already: set them, such"
                " as train_dataloader.dataset.KEY, or edit the file"
            )
        else:
            close = difflib.get_close_matches(start, _READ, n=1)
            remedy = f"did you mean {close[0]}?" if close else "see the configuration's keys"
        raise ValueError(f"--cfg_options {key} would change nothing: {remedy}")
    for key in options:
        _check_settings(config, key)


def _check_settings(config: Config, key: str) -> None:
    """Refuse a misspelt key of plain settings, such as ``test_cfg``, of which any are taken.

    Where a class is built (``type``), it refuses what it does not know.
    """
    part: Any = config
    names = key.split(".")
    for place, name in enumerate(names):
        if isinstance(part, list | tuple):
            known = name.isdigit() and int(name) < len(part)
            part = part[int(name)] if known else None
            continue
        if not isinstance(part, dict | Config):
            return
        if name in part:
            part = part[name]
            continue
        others = [other for other in map(str, part) if _unnumbered(other) != _unnumbered(name)]
        close = difflib.get_close_matches(name, others, n=1, cutoff=0.8)
        free = names[place - 1] == "custom_keys"  # parts of a network, of any name
        if place and "type" not in part and close and not free:
            meant = ".".join([*names[:place], close[0], *names[place + 1 :]])
            raise ValueError(f"--cfg_options {key} would change nothing: did you mean {meant}?")
        return


def _unnumbered(name: str) -> str:
    return name.rstrip("0123456789")


def use_backbone(config: Config, name: str) -> None:
    """Put a backbone into a configuration, with all that follows from it.

    Its name; the mean and standard deviation of the data preprocessor, in stored units; what
    `LabelledImages` checks its images against; and the ``in_channels`` of the heads and necks that
    read its maps. No weight is read for that.

    Raises:
        FileNotFoundError, ValueError: as `cmid.checkpoints.identify`; also a configuration
            without `CMIDBackbone`.
    """
    found = [part for part in _parts(config.model) if part.get("type") == "CMIDBackbone"]
    if not found:
        raise ValueError(
            f"{config.filename} has no CMIDBackbone, which --backbone replaces; a native backbone"
            " takes weights by init_cfg"
        )
    for part in found:
        part.name = name
    stored = identify(name, in_chans=found[0].get("in_channels", 3))
    widths = [level.width for level in stages(stored.skeleton(), STAGES)]
    channels = tuple(widths[index] for index in found[0].get("out_indices", range(STAGES)))
    statistics = stored.statistics
    _check_bands(config, statistics)
    for part in _datasets(config):
        if part.get("type") == "LabelledImages":
            part.statistics = statistics.to_plain()
    mean, std = Standardize(statistics).stored_moments()
    for part in [config.model, *_parts(config.model), config]:
        preprocessor = part.get("data_preprocessor")
        if preprocessor is not None and preprocessor.get("mean") is not None:
            preprocessor.mean, preprocessor.std = mean, std
    for key in ("neck", "head", "decode_head", "auxiliary_head"):
        for part in _dicts(config.model.get(key)):
            if "in_channels" in part:
                part.in_channels = _fitted(part, channels)


def _check_bands(config: Config, statistics: ChannelStatistics) -> None:
    """Compare the bands that ``LoadRaster`` reads by name with those that a backbone knows."""
    for part in _datasets(config):
        names = part.get("bands") or ()
        if part.get("type") != "LoadRaster" or not part.get("sensor"):
            continue
        sensor = find_sensor(part.sensor)
        if all(isinstance(name, str) for name in names):
            chosen = tuple(sensor.band(name).name for name in names) or sensor.names
            statistics.check_bands(sensor.name, chosen)


def use_labels(config: Config, count: int, *, seed: int = 0) -> None:
    """Train with some of the labelled images, see `FewLabels`, in as many steps as with all.

    Args:
        count: number of images; of every class where images have one class each.
    """
    loader = config.train_dataloader
    loader.dataset = ConfigDict(type="FewLabels", dataset=loader.dataset, count=count, seed=seed)


def freeze_backbone(config: Config) -> None:
    """Keep every weight and statistic of `CMIDBackbone`; its norms and pyramid, if any, learn.

    Raises:
        ValueError: the configuration has none.
    """
    found = [part for part in _parts(config.model) if part.get("type") == "CMIDBackbone"]
    if not found:
        raise ValueError(f"{config.filename} has no CMIDBackbone, which --frozen is about")
    for part in found:
        part.frozen_stages = STAGES


def use_amp(config: Config) -> None:
    """Train in automatic mixed precision.

    Raises:
        ValueError: there is no GPU or the like, which mmengine's needs.
    """
    if get_device() == "cpu":
        raise ValueError("--amp needs a GPU: leave it out on a CPU")
    config.optim_wrapper.update(type="AmpOptimWrapper", loss_scale="dynamic")


def paint(config: Config, folder: str | Path) -> None:
    """Let the test write a picture of every prediction into a folder.

    Raises:
        ValueError: the configuration has no visualization hook.
    """
    hook = config.get("default_hooks", {}).get("visualization")
    if hook is None:
        raise ValueError(
            f"{config.filename} has no default_hooks.visualization, which --show_dir turns on"
        )
    target = str(Path(folder).absolute())
    if hook.type == "VisualizationHook":  # mmpretrain's; the others have mmdetection's arguments
        hook.update(enable=True, out_dir=target, interval=1)
    else:
        hook.update(draw=True, test_out_dir=target, interval=1)


def use_tta(config: Config) -> None:
    """Test with the configuration's augmentation, and average its predictions.

    Raises:
        ValueError: the configuration has none.
    """
    if "tta_model" not in config or "tta_pipeline" not in config:
        raise ValueError(f"{config.filename} has no tta_model and tta_pipeline, which --tta uses")
    config.model = ConfigDict(**config.tta_model, module=config.model)
    for dataset in _parts(config.test_dataloader.dataset):
        if "pipeline" in dataset:  # not so wrappers, such as those that repeat or join
            dataset.pipeline = config.tta_pipeline


def check_classes(config: Config) -> None:
    """Make sure that datasets number the same classes alike, and heads have as many.

    Raises:
        ValueError: they differ; detectors would train and test on wrong labels.
    """
    named = {
        loader: tuple(part.metainfo.classes)
        for loader in _LOADERS
        for part in _parts(config.get(loader))
        if isinstance(part.get("metainfo"), dict) and part.metainfo.get("classes")
    }
    for loader, classes in named.items():
        first = next(iter(named))
        if classes != named[first]:
            raise ValueError(
                f"metainfo.classes of {loader} are {classes}, of {first} {named[first]}: labels"
                " would be mixed up; give all the same classes in the same order"
            )
        for part in _parts(config.model):
            found = part.get("num_classes")
            if found not in (None, len(classes)) and str(part.get("type")).endswith("Head"):
                raise ValueError(
                    f"num_classes of {part.type} is {found}, {loader} has {len(classes)} classes"
                    f" {classes}: set it to {len(classes)}"
                )


def check_band_order(config: Config) -> None:
    """Make sure that the bands of ``LoadRaster`` stay in the order that the backbone knows.

    Raises:
        ValueError: the data preprocessor would turn them round, as it does OpenCV's.
    """
    rasters = any(part.get("type") == "LoadRaster" for part in _datasets(config))
    for part in _parts(config.model) if rasters else ():
        if part.get("bgr_to_rgb"):
            raise ValueError(
                "model.data_preprocessor.bgr_to_rgb=True would turn the bands of LoadRaster round,"
                " which come in their own order: set it to False"
            )


def check_schedule(config: Config) -> None:
    """Make sure that a training is long enough for every part of its schedule.

    Raises:
        ValueError: one begins when the training is over.
    """
    epochs = (config.get("train_cfg") or {}).get("max_epochs")
    schedule = config.get("param_scheduler") or []
    for number, part in enumerate(schedule if isinstance(schedule, list) else [schedule]):
        if epochs is not None and part.get("by_epoch", True) and part.get("begin", 0) >= epochs:
            raise ValueError(
                f"{part.type} of param_scheduler begins after {part.begin} epochs, and"
                f" train_cfg.max_epochs is {epochs}: train longer, or shorten the warm-up, such as"
                f" --cfg_options param_scheduler.{max(number - 1, 0)}.end=0.5"
                f" param_scheduler.{number}.begin=0.5"
            )


def build_runner(config: Config, *, trained: str | Path | None = None) -> Runner:
    """Build mmengine's runner; make sure that pretrained weights and anchors find their places.

    A checkpoint in ``load_from`` replaces all weights; pretrained ones are not checked then, nor
    with ``check_pretrained=False``.

    Args:
        trained: checkpoint to load, which has to be of this very model. One that a training goes on
            from (``resume``) has to be, too.

    Raises:
        FileNotFoundError, ValueError: as `check_pretrained`, `check_checkpoint`, `check_strides`,
            `check_classes`, `check_band_order` and `check_schedule`.
        ModuleNotFoundError: mmcv was installed without its compiled operators.
    """
    try:
        import mmcv._ext  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "mmcv has no compiled operators: reinstall it with make openmmlab"
        ) from error
    if trained is not None:
        config.load_from = str(trained)
    else:
        check_schedule(config)
        if config.get("resume"):
            trained = config.get("load_from") or find_latest_checkpoint(config.work_dir)
    check_classes(config)
    check_band_order(config)
    runner = Runner.from_cfg(config)
    check_strides(runner.model)
    if trained is not None:
        check_checkpoint(runner.model, Path(trained))
    if not config.get("load_from") and config.get("check_pretrained", True):
        check_pretrained(runner.model)
    return runner


def _fitted(part: ConfigDict, channels: tuple[int, ...]) -> Any:
    """``in_channels`` of a part that reads all maps, some of them, or the last one."""
    index = part.get("in_index")
    if isinstance(part.in_channels, list | tuple):
        wanted = range(len(part.in_channels)) if index is None else index
        return [channels[i] for i in wanted]
    return channels[-1 if index is None else index]


def _parts(part: Any) -> Iterator[ConfigDict]:
    """Every dict in a configuration's tree."""
    if isinstance(part, dict):
        yield part
        for value in part.values():
            yield from _parts(value)
    elif isinstance(part, list | tuple):
        for value in part:
            yield from _parts(value)


def _datasets(config: Config) -> Iterator[ConfigDict]:
    """Every dict of the loaders: data sets, and the steps of their pipelines."""
    yield from _parts([config.get(loader) for loader in _LOADERS])


def _dicts(part: Any) -> list[ConfigDict]:
    return [part] if isinstance(part, dict) else [p for p in part or () if isinstance(p, dict)]
