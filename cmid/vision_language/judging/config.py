"""What the preference engine is asked; imports nothing heavy, so that the command can tell it."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cmid.data.text_files import parse_json
from cmid.options import at_least, option

ENDPOINT = "openai:"
CAPTION_QUESTION = "Provide a factual description highlighting important details in this picture."


def _json_object(text: Any) -> dict[str, Any]:
    if isinstance(text, dict):  # the parser checks what it has read
        return text
    try:
        content = parse_json(text, name=repr(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if not isinstance(content, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON object")
    return content


@dataclass(frozen=True)
class CandidatesConfig:
    """Where images and candidates come from.

    Attributes:
        images: folder of images, .txt/.csv list, .h5 file, .tar shards or 'scenes'; with
            --candidates, the folder that the file's paths start from (default: that of the file).
        candidates: file of candidates: .json, .jsonl, .csv, .tsv or .parquet.
        captioners: models that describe each image or answer its question: folders or names of
            Hugging Face, or openai:NAME for a model of an endpoint.
        question: what captioners are asked of images without a question.
        max_images: take only the first so many.
        deduplicate: leave out near-duplicates by the embeddings of this backbone (see
            tools/evaluate.py), or clip:SPEC for a CLIP (see tools/evaluate_clip.py).
        threshold: cosine beyond which two images are near-duplicates.
        keep: which image of a group of near-duplicates is kept.
        search: compare all pairs, or those that an index of faiss finds (millions of images).
        on_error: unreadable images and faulty rows: stop, or count and leave out.
    """

    images: str | None = None
    candidates: Path | None = None
    captioners: tuple[str, ...] = option((), metavar="MODEL")
    question: str = CAPTION_QUESTION
    max_images: Annotated[int, at_least(1)] | None = None
    deduplicate: str | None = option(None, metavar="SPEC")
    threshold: Annotated[float, at_least(-1, 1)] = 0.65
    keep: Literal["central", "first"] = "central"
    search: Literal["exact", "faiss"] = "exact"
    on_error: Literal["error", "skip"] = "error"

    def __post_init__(self) -> None:
        if not (self.captioners or self.candidates):
            raise ValueError("there is nothing to compare: give --captioners or --candidates")
        if not (self.images or self.candidates):
            raise ValueError("--captioners have nothing to describe: give --images")


@dataclass(frozen=True)
class AskingConfig:
    """How models are asked.

    Attributes:
        judge: model that judges captions and open answers, named as captioners are; without one,
            the captioners' candidates are written and can be judged later.
        base_url: address of the endpoint of openai: models (default: OpenAI's).
        api_key_variable: environment variable that holds the endpoint's key.
        request: further fields of each request to the endpoint, a JSON object; whatever the server
            knows.
        output_format: how the endpoint is told the form of a judgement; text: by words alone.
        concurrency: requests that the endpoint works on at a time.
        retries: further attempts, with growing pauses, where the endpoint is busy or unreachable.
        timeout: seconds to wait for an answer.
        attempts: how often a judge is asked whose answers do not have the form.
        repeats: independent judgements of each candidate; their mean counts.
        price_in: dollars for a million tokens that the judge reads.
        price_out: dollars for a million tokens that it writes.
        image_side: pixels of the longer side that images are shrunk to for the endpoint.
        batch_size: images at a time of local models.
        max_new_tokens: longest answer of local models.
        num_workers: processes that read images.
        device: where local models work (default: a GPU where there is one).
        replay: take all answers from this transcript of an earlier run; no model is asked.
    """

    judge: str | None = option(None, metavar="MODEL")
    base_url: str | None = None
    api_key_variable: str = "OPENAI_API_KEY"
    request: dict[str, Any] = option('{"temperature": 0}', type=_json_object, metavar="JSON")
    output_format: Literal["json_schema", "json_object", "text"] = "json_schema"
    concurrency: Annotated[int, at_least(1)] = 8
    retries: Annotated[int, at_least(0)] = 5
    timeout: Annotated[float, at_least(0.1)] = 120.0
    attempts: Annotated[int, at_least(1)] = 3
    repeats: Annotated[int, at_least(1)] = 1
    price_in: Annotated[float, at_least(0)] = 0.0
    price_out: Annotated[float, at_least(0)] = 0.0
    image_side: Annotated[int, at_least(28)] = 1024
    batch_size: Annotated[int, at_least(1)] = 8
    max_new_tokens: Annotated[int, at_least(1)] = 256
    num_workers: Annotated[int, at_least(0)] = 0
    device: str | None = None
    replay: Path | None = None

    def __post_init__(self) -> None:
        if isinstance(self.request, str):  # the default, where no command line was read
            object.__setattr__(self, "request", json.loads(self.request))
