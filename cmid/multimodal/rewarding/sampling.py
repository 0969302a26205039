"""Several answers of a model to each question, for best of N."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from torch import Tensor

from cmid.data.scenes import generate_scene
from cmid.multimodal.conversation import Conversation, Turn
from cmid.multimodal.data.scenes import ask
from cmid.multimodal.folder import is_model, load, read_config
from cmid.multimodal.model import MultimodalModel
from cmid.vision_language.scoring import best_of_n
from cmid.vision_language.scoring.best_of_n_config import BestOfNConfig
from cmid.vision_language.scoring.questions import Question

# How answers are compared, where it is not by their words.
_COMPARED = {"grounding": "iou", "caption": "open"}


class OwnSampler:
    """A multimodal model of this project, as best of N asks it.

    Args:
        model: the model.
        system: what the system's turn says; empty: the template's own.
    """

    def __init__(self, model: MultimodalModel, *, system: str = "") -> None:
        self.model, self.system = model, system

    def sample(
        self,
        images: Sequence[Tensor],
        questions: Sequence[str],
        *,
        count: int,
        temperature: float = 0.95,
        top_p: float = 1.0,
        max_new_tokens: int = 256,
        seed: int = 0,
    ) -> list[list[str]]:
        """See :meth:`cmid.vision_language.scoring.answerer.Answerer.sample`."""
        drawn = count if temperature > 0 else 1
        found = self.model.sample(
            [Conversation((Turn(question),), self.system or None) for question in questions],
            images,
            count=drawn,
            batch_size=len(questions),
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_new_tokens,
            seed=seed,
        )
        return [answers * (count // drawn) for answers in found]


def open_sampler(config: BestOfNConfig, device: str) -> best_of_n.Sampler:
    """The model of a folder of this project, or of Hugging Face.

    Raises:
        FileNotFoundError, ModuleNotFoundError, OSError, ValueError: it cannot be opened.
    """
    if not is_model(config.model):
        return best_of_n.open_answerer(config, device)
    return OwnSampler(load(config.model).to(device), system=config.system or "")


def asked_questions(config: BestOfNConfig) -> list[Question]:
    """The questions of a configuration; of scenes a model of ours is asked what it was taught."""
    scenes = None
    if is_model(config.model):
        size = seen_size(config.model)
        scenes = scene_questions(config.num_scenes, size=size, seed=config.scene_seed)
    return best_of_n.asked_questions(config, scenes=scenes)


def seen_size(model: str) -> int:
    """Pixels per side of what the model of a folder sees."""
    return int(read_config(model)["tower"]["size"])


def scene_questions(num_scenes: int, *, size: int = 64, seed: int = 0) -> Iterator[Question]:
    """What training on generated scenes asks; captions are ``open``, with a true one for reference.

    Args:
        num_scenes: number of scenes; their classes are balanced.
        size: height and width in pixels.
        seed: of scenes and questions; different seeds share no scene.
    """
    for index in range(num_scenes):
        scene = generate_scene(index, seed=seed, size=size)
        draws = random.Random(f"cmid scene rewards {seed} {index}")
        for asked in ask(scene, draws):
            yield Question(
                f"scene/{seed}/{index}/{asked.kind}",
                scene.image,
                asked.text,
                asked.answer,
                _COMPARED.get(asked.kind, "exact"),
                thought=scene.class_name,
            )
