"""Open a suite, ask a model, write what came out."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.multimodal import readers
from benchmarks.multimodal.config import ModelConfig, SuiteConfig, SuiteName
from benchmarks.multimodal.files import Entries
from benchmarks.multimodal.instructions import read_instructions
from benchmarks.multimodal.prompts import Prompts
from benchmarks.multimodal.readers import ALL_TYPES
from cmid.evaluation.answers.question import Question
from cmid.multimodal.boxes import BoxForm
from cmid.multimodal.data.scenes import FURTHER, KINDS
from cmid.multimodal.evaluation.asking import open_answers
from cmid.multimodal.evaluation.measuring import Outcome, evaluate
from cmid.multimodal.evaluation.picture import paint_answers
from cmid.multimodal.evaluation.suite import Suite, make_suite, scene_suite
from cmid.reporting import Report, Section, markdown_table, write_report
from cmid.vision_language.judging.config import ENDPOINT, AskingConfig

_SCENES = 300
_PROTOCOLS: dict[SuiteName, str] = {
    "classification": "an answer is right that is the class, or names it and no other",
    "vqa": "answers that are the true one but for case, punctuation, articles and number words"
    " (relaxed match: that name it and no other); counts exact, areas in the published bins;"
    " every type is asked",
    "grounding": "overlap of boxes in fractions of the whole image, nothing added to sides; every"
    " question counts",
    "choice": "the letter or the text of a choice, each question in all rotations of its choices",
    "captions": "against all references, words as answers are compared; CIDEr where the extra"
    " captions is installed; METEOR is not computed",
    "instructions": "questions of this project, judged by their task",
}
_FOLDERS = ("", "images", "Images_LR", "Data", "JPEGImages")


def run_evaluation(model: ModelConfig, asked: SuiteConfig, *, command: str) -> Outcome:
    """Evaluate; print the table and write ``--out``.

    Raises:
        FileNotFoundError, ModuleNotFoundError, OSError, ValueError: a model or data that cannot be
            opened.
    """
    suite = open_suite(asked)
    settings = AskingConfig(
        base_url=model.endpoint,
        api_key_variable=model.api_key_variable,
        concurrency=model.concurrency,
        image_side=model.image_side,
        batch_size=model.batch_size,
        device=model.device,
        output_format="text",
    )
    name = model.model if model.endpoint is None else f"{ENDPOINT}{model.model}"
    answers = open_answers(name, settings, beams=model.beams)
    outcome = _with_mean(evaluate(answers, suite, unseen=asked.grey_image))
    outcome.write(asked.out)
    paint_answers(outcome, asked.out / "answers.png")
    print(markdown_table(outcome.table(), aligned=True))
    for fact in outcome.facts:
        print(fact)
    section = Section(
        "Scores", tables=(outcome.table(),), pictures=(("Some answers", "answers.png"),)
    )
    title = f"Answers about images: {suite.name}"
    facts = (f"model: {outcome.model}", *outcome.facts)
    write_report(asked.out, Report(title, command, (section,), facts))
    return outcome


def open_suite(asked: SuiteConfig) -> Suite:
    """The questions that a command asks for.

    Raises:
        FileNotFoundError, ValueError: data that is missing or faulty.
    """
    if asked.suite == "scenes":
        known = (*KINDS, *FURTHER)
        unknown = [kind for kind in asked.tasks if kind not in known]
        if unknown:
            raise ValueError(f"--tasks {' '.join(unknown)}: give some of {', '.join(known)}")
        count = asked.count or _SCENES
        kinds = asked.tasks or KINDS
        return scene_suite(count, kinds=kinds, size=asked.scene_size, seed=asked.seed)
    assert asked.data is not None
    questions, facts = _read(asked, asked.data, asked.split, default="test")
    if asked.count is not None and asked.count < len(questions):
        facts = (*facts, f"{asked.count} of {len(questions)} questions, drawn at random")
        questions = random.Random(asked.seed).sample(questions, asked.count)
    facts = (*facts, f"protocol: ours; {_PROTOCOLS[asked.suite]}")
    boxes = BoxForm(cells=asked.cells, digits=4)
    return make_suite(asked.suite, questions, _known(asked), boxes=boxes, facts=facts)


def _known(asked: SuiteConfig) -> Sequence[Question]:
    """What a guesser knows; nothing where that would be the test itself."""
    if asked.train is None and asked.train_split is None:
        return ()
    assert asked.data is not None
    path = asked.train or asked.data
    split = asked.train_split
    if path.is_dir() and asked.suite in ("vqa", "grounding"):
        own, split = asked.split or "test", split or "train"
    else:
        own = asked.split  # type: ignore[assignment]
    if (path.resolve(), split) == (asked.data.resolve(), own):
        return ()
    return _read(asked, path, split, default="train")[0]


def _read(
    asked: SuiteConfig, path: Path, split: str | None, *, default: str
) -> tuple[list[Question], tuple[str, ...]]:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    root = asked.images or (path if path.is_dir() else path.parent)
    entries = Entries(tuple(root / name for name in _FOLDERS), asked.on_error)
    prompts = Prompts(asked.prompts, asked.cells)
    if asked.suite == "classification":
        found = readers.read_classification(path, prompts, asked.class_names)
    elif asked.suite == "vqa":
        found = readers.read_vqa(path, prompts, entries, split or default)
    elif asked.suite == "grounding":
        part = split or (default if path.is_dir() else None)
        found = readers.read_grounding(path, prompts, entries, part, cells=asked.data_cells)
    elif asked.suite == "choice":
        found = readers.read_choices(path, prompts, entries)
    elif asked.suite == "instructions":
        found = read_instructions(path, entries, cells=asked.cells)
    else:
        found = readers.read_captions(path, asked.images, split, asked.on_error)
    questions = list(found)
    return questions, (f"{path}: {len(questions)} questions", *entries.facts())


def _with_mean(outcome: Outcome) -> Outcome:
    """Say the mean over types, where questions are of several."""
    firsts = {score.task: score.value for score in reversed(outcome.scores)}
    if firsts.pop(ALL_TYPES, None) is None:
        return outcome
    told = f"mean over the {len(firsts)} types: {np.mean([*firsts.values()]):.3f}"
    return replace(outcome, facts=(*outcome.facts, told))
