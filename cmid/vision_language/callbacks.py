"""Whether a CLIP learns, seen while it is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch

from cmid.callbacks.knn import log_scores
from cmid.console import warn
from cmid.data.source import ImageSource, UnreadableImageError
from cmid.data.templates import check_templates
from cmid.evaluation.zero_shot import zero_shot_classification
from cmid.processes import gather_objects, gather_rows
from cmid.schedule import ends_due_epoch
from cmid.vision_language.data.source import ImageTextSource
from cmid.vision_language.prompts.templates import ONLINE_TEMPLATES


class OnlineZeroShot(L.Callback):
    """Classify labelled images by the names of their classes, all of them.

    Before the first step, every ``every_n_epochs`` epochs and after the last. Does nothing without
    a source.

    Args:
        source: labelled images; their class names (folder names) are the texts.
        names: other class names, in the order of the source's.
        templates: texts with ``{}``.
        every_n_epochs: 0 scores only at the beginning and the end.
        batch_size: images at a time.

    Raises:
        ValueError: images without labels or of one class, another number of names, a template
            without ``{}``.
    """

    def __init__(
        self,
        source: ImageSource | None = None,
        *,
        names: Sequence[str] | None = None,
        templates: Sequence[str] = ONLINE_TEMPLATES,
        every_n_epochs: int = 1,
        batch_size: int = 128,
    ) -> None:
        if source is not None:
            _check(source, names, templates)
        self.source = source
        self.names = names
        self.templates = templates
        self.every_n_epochs = every_n_epochs
        self.batch_size = batch_size
        self.initial: float | None = None
        self.score: float | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        if self.source is not None and trainer.global_step == 0:
            self.initial = self.measure(trainer, pl_module)
            log_scores(trainer, {"zero_shot/random_init": self.initial})

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if self.source is not None and ends_due_epoch(trainer, self.every_n_epochs):
            self.score = self.measure(trainer, pl_module)
            log_scores(trainer, {"zero_shot/top1": self.score})
            start = "" if self.initial is None else f" ({self.initial:.3f} at the start)"
            epoch = trainer.current_epoch + 1
            pl_module.print(f"epoch {epoch}: zero-shot accuracy {self.score:.3f}{start}")

    def measure(self, trainer: L.Trainer, pl_module: Any) -> float:
        """Top-1 accuracy in [0, 1]; the first process measures for all."""
        score = 0.0
        if trainer.is_global_zero:
            source = self.source
            assert source is not None
            names = self.names or [name.replace("_", " ") for name in source.classes]
            scores = zero_shot_classification(
                pl_module.clip,
                source,
                names=names,
                templates=self.templates,
                batch_size=self.batch_size,
            )
            score = scores.top1
            pl_module.train()
        return float(trainer.strategy.broadcast(score))

    def state_dict(self) -> dict[str, Any]:
        return {"initial": self.initial, "score": self.score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.initial, self.score = state_dict["initial"], state_dict["score"]


def _check(source: ImageSource, names: Sequence[str] | None, templates: Sequence[str]) -> None:
    """Name what does not fit before training starts rather than behind its first lines."""
    count = len(source.classes)
    if count < 2:
        found = f"the class {source.classes[0]} only" if count else "no labels"
        raise ValueError(f"zero_shot.source has {found}: put the images of each class in a folder")
    if names is not None and len(names) != count:
        raise ValueError(f"zero_shot.names are {len(names)}, the classes of the images {count}")
    try:
        check_templates(templates)
    except ValueError as error:
        raise ValueError(f"zero_shot.{error}") from None


class CutCaptions(L.Callback):
    """Say before training how many captions are longer than the text tower's context.

    Args:
        images: how many are looked at, spread over all of the data.
    """

    def __init__(self, images: int = 200) -> None:
        self.images = images

    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        source, text = trainer.datamodule.source, pl_module.clip.text  # type: ignore[attr-defined]
        if not trainer.is_global_zero:
            return
        step = max(1, -(-len(source) // self.images))
        captions = [c for index in range(0, len(source), step) for c in _captions(source, index)]
        cut = sum(text.too_long(captions))
        if cut:
            warn(
                f"{cut} of {len(captions)} captions that were looked at are longer than"
                f" {text.context_length} tokens, what is beyond them is not read:"
                " model.clip.context_length takes longer ones"
            )


def _captions(source: ImageTextSource, index: int) -> tuple[str, ...]:
    """Of an image; none of one that cannot be read, which training counts or stops at."""
    try:
        return source.captions(index)
    except UnreadableImageError:
        return ()


class LeftOutRegions(L.Callback):
    """Count the annotated regions that views did not use, and say so at the end of each epoch.

    An epoch without a single region is told, too, where a loss of regions has a weight.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.used = 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.used += len(batch["regions"])
        self.counts.update(batch["left_out"])

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        # Reasons differ between processes: a rare one may have met only one of them.
        reasons = sorted(
            {reason for names in gather_objects(list(self.counts)) for reason in names}
        )
        numbers = torch.tensor([[self.used, *(self.counts[reason] for reason in reasons)]])
        used, *counts = gather_rows(numbers.to(pl_module.device)).sum(dim=0).tolist()
        pl_module.log("data/regions", float(used), rank_zero_only=True)
        weights = getattr(pl_module, "weights", None)
        wanted = weights is not None and (weights.distillation > 0 or weights.region_text > 0)
        if any(counts) or (wanted and not used):
            text = ", ".join(f"{n} {r}" for n, r in zip(counts, reasons, strict=True))
            said = f"epoch {trainer.current_epoch + 1}: {used} regions used"
            pl_module.print(f"{said}; left out: {text}" if text else said)
        self.counts, self.used = Counter(), 0
