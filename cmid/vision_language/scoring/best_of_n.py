"""The best of several answers to one question: draw, score, pick, and measure what that gains."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from cmid.console import warn
from cmid.data.text_files import parse_json
from cmid.files import write_text
from cmid.vision_language.clip.storage import load_clip
from cmid.vision_language.scoring.answerer import THINK, Answerer
from cmid.vision_language.scoring.best_of_n_config import BestOfNConfig
from cmid.vision_language.scoring.dual_encoder import DualEncoderScorer
from cmid.vision_language.scoring.questions import Question, read_questions
from cmid.vision_language.scoring.rewards import box_reward, plain, short
from cmid.vision_language.scoring.scene_questions import scene_questions
from cmid.vision_language.scoring.scorer import Scorer
from cmid.vision_language.scoring.storage import load_scorer

SAMPLES = "samples.jsonl"
_DRAWS = 64  # random choices of N of the answers
# What may change before a run goes on.
_INDIFFERENT = ("out", "limit", "preferences", "device")
Row = dict[str, Any]
Curve = dict[str, list[tuple[int, float, float]]]


class Sampler(Protocol):
    """A model that is asked."""

    def sample(
        self,
        images: Sequence[Tensor],
        questions: Sequence[str],
        *,
        count: int,
        temperature: float,
        top_p: float,
        max_new_tokens: int,
        seed: int,
    ) -> list[list[str]]:
        """See :meth:`cmid.vision_language.scoring.answerer.Answerer.sample`."""


def open_answerer(config: BestOfNConfig, device: str) -> Sampler:
    """A model of Hugging Face; it is told to think first, unless the system's turn is given."""
    system = THINK if config.system is None else config.system
    return Answerer.from_pretrained(config.model, system=system, device=device)


def best_of_n(
    config: BestOfNConfig,
    *,
    questions: Sequence[Question] | None = None,
    open_sampler: Callable[[BestOfNConfig, str], Sampler] = open_answerer,
) -> list[Row]:
    """Draw answers and pick; rows that ``out`` has already are not drawn again.

    Args:
        questions: None: `asked_questions`.
        open_sampler: the model of a configuration, on a device.

    Returns:
        A row for each question: ``samples``, their scores by method, what each method picks.

    Raises:
        FileNotFoundError, ValueError, ModuleNotFoundError: with a one-line message.
    """
    device = config.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if questions is None:
        questions = asked_questions(config)
    done = _resume(config, len(questions))
    if len(done) < len(questions):
        scorers = _scorers(config, device)
        answerer = open_sampler(config, device)
        with (
            (config.out / SAMPLES).open("a", encoding="utf-8") as file,
            tqdm(total=len(questions), initial=len(done), desc="answers", unit="question") as bar,
        ):
            for start in range(len(done), len(questions), config.batch_size):
                batch = questions[start : start + config.batch_size]
                rows = [*_answer(batch, answerer, scorers, config, seed=config.seed + start)]
                file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
                file.flush()
                done += rows
                bar.update(len(rows))
    return done[: len(questions)]


def accuracy_curve(rows: Sequence[Row], *, seed: int = 0) -> Curve:
    """Accuracy of each method against N, over random choices of N of the answers.

    Args:
        rows: what `best_of_n` gives; questions without a known answer have no influence.

    Returns:
        Method to ``(N, accuracy, standard error over questions)``: ``majority`` takes the most
        frequent answer, the earliest of equals; ``oracle`` is right where any answer is.
    """
    known = [row for row in rows if row["right"] is not None]
    if not known:
        return {}
    right = np.array([row["right"] for row in known], dtype=float)  # (Q, n)
    votes = np.array([_ids(row["samples"]) for row in known])
    methods = [*known[0]["scores"]]
    scores = {m: np.array([_numbers(row["scores"][m]) for row in known]) for m in methods}
    count, n = right.shape
    draws = np.random.default_rng(seed).random((_DRAWS, count, n)).argsort(axis=2)
    curve: Curve = {name: [] for name in (*methods, "majority", "oracle")}
    for size in range(1, n + 1):
        chosen = draws[..., :size]  # (D, Q, N)

        def drawn(values: NDArray[Any], chosen: NDArray[Any] = chosen) -> NDArray[Any]:
            return np.take_along_axis(np.broadcast_to(values, draws.shape), chosen, axis=2)

        own = drawn(right)
        picks = {m: drawn(values).argmax(axis=2) for m, values in scores.items()}
        voted = drawn(votes)
        picks["majority"] = (voted[..., :, None] == voted[..., None, :]).sum(axis=3).argmax(axis=2)
        hits = {m: np.take_along_axis(own, p[..., None], 2)[..., 0] for m, p in picks.items()}
        hits["oracle"] = own.max(axis=2)
        for name, hit in hits.items():
            each = hit.mean(axis=0)  # (Q,)
            error = float(each.std(ddof=1)) / math.sqrt(count) if count > 1 else math.nan
            curve[name].append((size, float(each.mean()), error))
    return curve


def vote(samples: Sequence[str]) -> int:
    """Place of the most frequent answer, compared as `exact_reward` does; of equals the first."""
    ids = _ids(samples)
    return max(range(len(ids)), key=lambda place: (ids.count(ids[place]), -place))


def is_right(question: Question, sample: str) -> bool | None:
    """Whether a sample answers a question; None where that is not known.

    Boxes are right where as many as there are overlap the true ones by more than a half.
    """
    if question.answer is None or question.kind == "open":
        return None
    given = short(sample)
    if question.kind == "exact":
        return plain(given) != "" and plain(given) == plain(question.answer)
    height, width = question.pixels().shape[1:]
    said = [f"<think></think><answer>{given}</answer>"]
    size = {"width": width, "height": height}
    return box_reward([""], said, answer=[question.answer], **question.columns, **size)[0] > 0


def _answer(
    batch: Sequence[Question],
    answerer: Sampler,
    scorers: Mapping[str, Scorer],
    config: BestOfNConfig,
    *,
    seed: int,
) -> Iterator[Row]:
    images = [question.pixels() for question in batch]
    drawn = answerer.sample(
        images,
        [question.text for question in batch],
        count=config.n,
        temperature=config.temperature,
        top_p=config.top_p,
        max_new_tokens=config.max_new_tokens,
        seed=seed,
    )
    for question, image, samples in zip(batch, images, drawn, strict=True):
        answers = [short(sample) for sample in samples]
        scores: dict[str, list[float | None]] = {}
        for name, scorer in scorers.items():
            found = scorer.score([image] * config.n, answers, [question.text] * config.n)
            # An answer that says nothing is never the best.
            pairs = zip(answers, found.tolist(), strict=True)
            scores[name] = [score if answer else None for answer, score in pairs]
        best = {name: int(np.argmax(_numbers(values))) for name, values in scores.items()}
        best["majority"] = vote(samples)
        right = [is_right(question, sample) for sample in samples]
        yield {
            "name": question.name,
            "question": question.text,
            "answer": question.answer,
            "type": question.kind,
            "pred": {name: answers[place] for name, place in best.items()},
            "samples": samples,
            "scores": scores,
            "right": None if None in right else right,
        }


def asked_questions(
    config: BestOfNConfig, *, scenes: Iterable[Question] | None = None
) -> list[Question]:
    """The questions that a configuration names; entries that cannot be used are counted, said.

    Args:
        scenes: those about generated scenes; None: `scene_questions`.
    """
    if config.data == "scenes":
        if scenes is None:
            scenes = scene_questions(config.num_scenes, seed=config.scene_seed)
        questions = [*scenes]
    else:
        questions, skipped = read_questions(config.data, image_root=config.image_root)
        for reason, count in skipped.items():
            warn(f"{count} entries of {config.data} are left out: {reason}")
    return questions[: config.limit]


def _scorers(config: BestOfNConfig, device: str) -> dict[str, Scorer]:
    scorers: dict[str, Any] = {}
    if config.scorer is not None:
        scorers["scorer"] = load_scorer(config.scorer)
    if config.clip is not None:
        scorers["CLIP"] = DualEncoderScorer(load_clip(config.clip))  # untrained, it is the CLIP's
    return {name: scorer.to(device) for name, scorer in scorers.items()}


def _resume(config: BestOfNConfig, total: int) -> list[Row]:
    """Rows of whole batches in ``out``, or of all questions; its file is made, or cut to them.

    Raises:
        ValueError: they were drawn with other settings.
    """
    path: Path = config.out / SAMPLES
    settings = {k: str(v) for k, v in vars(config).items() if k not in _INDIFFERENT}
    rows: list[Row] = []
    if path.is_file():
        lines = path.read_bytes().split(b"\n")[:-1]  # a kill may have cut the last within a letter
        found = [parse_json(line.decode(), name=str(path)) for line in lines]
        earlier = found[0] if found else settings
        differing = [name for name in settings if earlier.get(name) != settings[name]]
        if differing and len(found) > 1:  # else nothing was drawn: the model did not open
            options = ", ".join(f"--{name} {earlier.get(name)}" for name in differing)
            raise ValueError(f"{path} was drawn with {options}: go on with that, or change --out")
        rows = found[1:]
        if len(rows) < total:
            # A part of a batch is what a kill left, or the last batch of a smaller --limit.
            rows = rows[: len(rows) // config.batch_size * config.batch_size]
    kept = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in (settings, *rows))
    write_text(path, kept)
    return rows


def _ids(samples: Sequence[str]) -> list[int]:
    """A number for each sample, equal where the answers are."""
    answers = [plain(short(sample)) for sample in samples]
    return [answers.index(answer) for answer in answers]


def _numbers(scores: Sequence[float | None]) -> list[float]:
    return [-math.inf if score is None else score for score in scores]
