"""Group relative policy optimisation with the rewards of this room, by TRL's trainer."""

from __future__ import annotations

import difflib
import io
from collections.abc import Callable, Sequence
from dataclasses import fields
from types import ModuleType
from typing import Any, Literal

from PIL import Image as PillowImage
from torch import Tensor

from cmid.vision_language.scoring.answerer import THINK, vision_tokens
from cmid.vision_language.scoring.questions import Question
from cmid.vision_language.scoring.rewards import format_reward, overall_reward, short
from cmid.vision_language.scoring.scorer import Scorer

Form = Literal["thought", "plain"]
# What the command itself sets of TRL's settings.
_OURS = ("output_dir", "scale_rewards", "seed", "remove_unused_columns")


def group_advantages(rewards: Tensor, *, eps: float = 1e-6) -> Tensor:
    r"""How far each reward is above those of the other answers to one prompt.

    .. math:: A_i = (r_i - \bar r) / (\sigma + \epsilon)

    Args:
        rewards: ``(P, G)``, a row for each prompt.
        eps: what is added to the unbiased deviation.

    Returns:
        ``(P, G)`` float32; 0 in a row of equal rewards.
    """
    # In float32, the rounding of equal rewards' mean would count beside so small an eps.
    rewards = rewards.double()
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    return (centred / (rewards.std(dim=1, keepdim=True) + eps)).float()


def import_trl() -> ModuleType:
    """trl, or the error that says how to get it."""
    try:
        import datasets  # noqa: F401
        import trl
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"training by rewards needs {error.name}: pip install 'cmid[scoring]'", name=error.name
        ) from error
    return trl


def trainer_class() -> type[Any]:
    """TRL's ``GRPOTrainer`` whose advantages are `group_advantages`, and which truly resumes.

    TRL adds 1e-4 to the deviation of a group, and has no setting for it. It is told to leave
    rewards unscaled, and the differences to the mean that it gives are divided here.
    """

    class GroupAdvantageTrainer(import_trl().GRPOTrainer):  # type: ignore[misc]
        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            output = super()._generate_and_score_completions(inputs)
            own = output["advantages"]
            size = self.num_generations if self.model.training else self.num_generations_eval
            # The answers to one prompt may lie on several processes.
            everyone = self.accelerator.gather(own)
            scaled = group_advantages(everyone.view(-1, size)).view(-1)
            start = self.accelerator.process_index * len(own)
            output["advantages"] = scaled[start : start + len(own)]
            return output

        def _load_from_checkpoint(self, folder: str, model: Any = None) -> None:
            if self.is_fsdp_enabled or self.is_deepspeed_enabled:
                super()._load_from_checkpoint(folder, model)
                return
            # Qwen2-VL is written under other names than it has in memory; the trainer would find
            # none of them, warn, and go on from the weights that the run began with.
            own = self.model
            written = type(own).from_pretrained(folder, dtype=own.dtype)
            own.load_state_dict(written.state_dict())

    return GroupAdvantageTrainer


def trainer_settings(
    given: dict[str, Any], *, output_dir: str, seed: int, model_config: Any
) -> Any:
    """TRL's ``GRPOConfig`` with what this project adds.

    Args:
        given: its fields.
        model_config: of a model of Hugging Face, whose vision tokens are never drawn: each would
            wait for an image. None: nothing that is drawn waits for an image.

    Raises:
        ValueError: a field that it does not have, or a value that it refuses.
    """
    known = {entry.name for entry in fields(import_trl().GRPOConfig)}
    for name in given:
        if name in _OURS:
            raise ValueError(f"trainer.{name} is set by the command: leave it out")
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1)
            hint = f": did you mean {near[0]}?" if near else ""
            raise ValueError(f"trainer.{name} is no setting of TRL's GRPOConfig{hint}")
    generation = {"suppress_tokens": vision_tokens(model_config)}
    generation |= given.get("generation_kwargs") or {}
    ours = {"output_dir": output_dir, "scale_rewards": "none", "seed": seed}
    try:
        return import_trl().GRPOConfig(**given | ours | {"generation_kwargs": generation})
    except (ValueError, TypeError) as error:
        raise ValueError(f"TRL refuses what trainer sets ({error})") from error


def make_dataset(questions: Sequence[Question], *, system: str = THINK) -> Any:
    """Questions as TRL reads them: turns of system and user, an image, columns of the rewards.

    Args:
        system: what the system's turn says; empty: there is none.
    """
    import_trl()
    from datasets import Dataset, Image

    rows: dict[str, list[Any]] = {name: [] for name in ("prompt", "image", "answer", "kind")}
    rows |= {name: [] for name in ("width", "height", "grid", "answer_grid")}
    for question in questions:
        turn = {"role": "user", "content": question.text}
        rows["prompt"].append([{"role": "system", "content": system}, turn] if system else [turn])
        rows["image"].append(_encoded(question))
        rows["answer"].append(question.answer)
        rows["kind"].append(question.kind)
        height, width = question.pixels().shape[1:] if "iou" in question.kind else (None, None)
        rows["width"].append(width)
        rows["height"].append(height)
        for name in ("grid", "answer_grid"):
            rows[name].append(question.columns.get(name))
    return Dataset.from_dict(rows).cast_column("image", Image())


def reward_function(
    scorer: Scorer | None = None, *, form: Form = "thought"
) -> Callable[..., list[float]]:
    """`overall_reward` for TRL, which logs the share of answers of the right form, too.

    Args:
        scorer: scores answers of kind ``open`` and their references; such questions need one.
        form: ``thought`` is that of the rewards; ``plain``: all of a text is the answer.
    """

    def overall(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
        if form == "plain":
            texts = (_text(completion).strip() for completion in completions)
            completions = [f"<think></think><answer>{text}</answer>" for text in texts]
        rows = [row for row, kind in enumerate(columns["kind"]) if kind == "open"]
        for name in ("score", "reference_score"):
            columns[name] = [None] * len(completions)
        if rows and scorer is not None:
            answers = [short(_text(completions[row])) for row in rows]
            references = [columns["answer"][row] for row in rows]
            images = [_pixels(columns["image"][row]) for row in rows]
            asked = [_question_of(prompts[row]) for row in rows]
            found = scorer.score(images * 2, answers + references, asked * 2).tolist()
            for place, row in enumerate(rows):
                columns["score"][row] = found[place]
                columns["reference_score"][row] = found[place + len(rows)]
        if "log_metric" in columns:
            formed = format_reward(prompts, completions)
            columns["log_metric"]("format", sum(formed) / len(formed))
        return overall_reward(prompts, completions, **columns)

    return overall


def _text(completion: Any) -> str:
    return completion if isinstance(completion, str) else completion[-1]["content"]


def _question_of(prompt: Any) -> str:
    content = prompt[-1]["content"]
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content if part["type"] == "text")


def _pixels(image: PillowImage.Image) -> Tensor:
    from torchvision.transforms.v2.functional import pil_to_tensor

    return pil_to_tensor(image.convert("RGB"))


def _encoded(question: Question) -> dict[str, Any]:
    """An image as the library datasets holds it."""
    image = question.image
    if isinstance(image, Tensor):
        data = io.BytesIO()
        PillowImage.fromarray(image.permute(1, 2, 0).numpy()).save(data, "png")
        image = data.getvalue()
    if isinstance(image, bytes):
        return {"bytes": image, "path": None}
    return {"bytes": None, "path": str(image)}
