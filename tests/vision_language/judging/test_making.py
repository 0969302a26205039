"""Whole runs: from images and candidates to the published form, through every interruption."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cmid.export import to_timm
from cmid.models import MaskedEncoder
from cmid.vision_language.judging.config import AskingConfig, CandidatesConfig
from cmid.vision_language.judging.distinct import distinct_items
from cmid.vision_language.judging.items import Images, items_of_file
from cmid.vision_language.judging.making import Preferences, make_preferences
from cmid.vision_language.judging.report import cost, left_out, summary, write_pages
from cmid.vision_language.scoring.preference_files import PreferenceFiles
from tests.integration.in_process import run
from tests.vision_language.judging.conftest import Endpoint, judged_text, levels


def by_length(prompt: str, before: int = 0) -> str:
    """A judge who likes longer texts."""
    return levels(min(5, len(judged_text(prompt)) // 3 + 1))


def written(run_dir: Path) -> list[dict[str, Any]]:
    return json.loads((run_dir / "preferences.json").read_text())


def make(candidates: CandidatesConfig, asking: AskingConfig, run_dir: Path) -> Preferences:
    return make_preferences(candidates, asking, run_dir=run_dir)


def test_the_published_form_is_written_with_paths_from_its_folder(
    endpoint: Endpoint, scenes: Path, candidates: Path, tmp_path: Path
) -> None:
    endpoint.answer = by_length
    asking = endpoint.config(price_in=2.0, price_out=10.0)
    made = make(CandidatesConfig(str(scenes), candidates), asking, tmp_path / "run")
    entries = written(tmp_path / "run")
    assert [entry["chosen"] for entry in entries] == [f"longer, {n}" for n in range(6)]
    assert [entry["rejected"] for entry in entries] == [[f"s{n}"] for n in range(6)]
    assert entries[0]["scores"] == [4.0, 1.0]
    assert entries[0]["sources"] == [["a"], ["b"]]
    for number, entry in enumerate(entries):
        assert not Path(entry["image_path"]).is_absolute()
        assert (tmp_path / "run" / entry["image_path"]).samefile(scenes / f"{number}.png")
    assert len(endpoint.prompts) == 12
    usage = made.usage["judge stub"]
    assert cost(usage, asking) == pytest.approx(12 * (100 * 2 + 20 * 10) / 1e6)
    assert "cost of the judge: $0.0048, of which $0.0048 in this run" in summary(made, asking)
    # The same again: nothing is asked, nothing is paid.
    made = make(CandidatesConfig(str(scenes), candidates), asking, tmp_path / "run")
    assert len(endpoint.prompts) == 12
    assert "cost of the judge: $0.0048, of which $0.0000 in this run" in summary(made, asking)
    assert written(tmp_path / "run") == entries
    # Training reads the folder as it is.
    source = PreferenceFiles(tmp_path / "run")
    (preference,) = source.preferences(5)
    assert (len(source), preference.kind) == (6, "caption")
    assert preference.candidates == ("longer, 5", "s5")
    image = source.read(5)
    assert image is not None
    assert np.array_equal(image.permute(1, 2, 0), np.asarray(Image.open(scenes / "5.png")))


def test_unreadable_judgements_are_asked_again_with_the_reason_and_then_dropped(
    endpoint: Endpoint, scenes: Path, candidates: Path, tmp_path: Path
) -> None:
    def answer(prompt: str, before: int) -> Any:
        text = judged_text(prompt)
        if text == "s0" and "could not be read: it is not JSON." not in prompt:
            return f"```json\n{by_length(prompt)}\n```"
        if text == "s1":
            return levels(9)
        return 400 if text == "s2" else by_length(prompt)

    endpoint.answer = answer
    asking = endpoint.config(attempts=3)
    made = make(CandidatesConfig(str(scenes), candidates), asking, tmp_path / "run")
    assert len(made.choices.made) == 4
    assert made.choices.left_out == {"fewer than two judged candidates": 2}
    assert made.judgements.malformed == 1 + 3
    reasons = " ".join(left_out(made))
    assert "1 x judgement: unreadable: its relevance is 9" in reasons
    assert "1 x judgement: Error code: 400" in reasons
    # A reason in the prompt makes another request; the failed one is asked again, no other.
    asked = len(endpoint.prompts)
    assert asked == 12 + 1 + 2
    make(CandidatesConfig(str(scenes), candidates), asking, tmp_path / "run")
    assert [judged_text(prompt) for prompt in endpoint.prompts[asked:]] == ["s2"]


def test_repeated_judgements_are_averaged_and_their_agreement_is_told(
    endpoint: Endpoint, scenes: Path, candidates: Path, tmp_path: Path
) -> None:
    endpoint.answer = lambda prompt, before: levels(3 + before)
    asking = endpoint.config(repeats=2, concurrency=1)
    made = make(CandidatesConfig(str(scenes), candidates), asking, tmp_path / "run")
    assert len(endpoint.prompts) == 24
    assert made.judgements.score(0, "s0") == 3.5
    write_pages(made, asking, run_dir=tmp_path / "run", command="made")
    report = (tmp_path / "run/report.md").read_text()
    assert "| all candidates of an item | 1.00 (6) | 0.00 (0) | 0.00 (0) |" in report
    assert "6 x item: all candidates are equally good" in report


def test_a_killed_run_goes_on_and_pays_nothing_twice(
    endpoint: Endpoint, scenes: Path, candidates: Path, tmp_path: Path
) -> None:
    fifth, over = threading.Event(), threading.Event()

    def answer(prompt: str, before: int) -> str:
        if len(endpoint.prompts) == 5 and not over.is_set():
            fifth.set()
            over.wait(60)
        return by_length(prompt)

    endpoint.answer = answer
    words = ["--candidates", str(candidates), "--images", str(scenes), "--judge", "openai:stub"]
    words += ["--base_url", endpoint.url, "--concurrency", "1", "--run_dir", str(tmp_path / "run")]
    with subprocess.Popen(
        [sys.executable, "tools/make_preferences.py", *words],
        env={**os.environ, "PYTHONPATH": ".", "OMP_NUM_THREADS": "1"},
    ) as process:
        assert fifth.wait(120)
        process.kill()
    over.set()
    transcript = tmp_path / "run/transcript.jsonl"
    assert transcript.read_text().count("\n") == 4
    assert not (tmp_path / "run/preferences.json").exists()
    transcript.write_bytes(transcript.read_bytes() + b'{"key": "half a li')
    done = run("tools/make_preferences.py", *words)
    assert done.status == 0, done.err
    assert len(endpoint.prompts) == 12 + 1  # the fifth alone was lost
    assert "8 requests (0 retries, 0 without an answer), 4 answers from the transcript" in done.out
    assert len(written(tmp_path / "run")) == 6


def test_a_transcript_replays_without_network_key_or_model(
    endpoint: Endpoint,
    scenes: Path,
    candidates: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    endpoint.answer = by_length
    make(CandidatesConfig(str(scenes), candidates), endpoint.config(), tmp_path / "run")
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setattr(socket, "socket", None)
    words = ["--candidates", str(candidates), "--images", str(scenes), "--judge", "openai:stub"]
    words += ["--replay", str(tmp_path / "run/transcript.jsonl")]
    done = run("tools/make_preferences.py", *words, "--run_dir", str(tmp_path / "again"))
    assert done.status == 0, done.err
    assert written(tmp_path / "again") == written(tmp_path / "run")
    page = (tmp_path / "again/report.html").read_text()
    assert '<img src="best.png"' in page
    assert Image.open(tmp_path / "again/worst.png").size[0] > 6 * 160
    other = ["--judge", "openai:another", "--run_dir", str(tmp_path / "other")]
    done = run("tools/make_preferences.py", *words, *other)
    assert done.status == 1
    assert "has none of the answers: replay with the images" in done.err


def test_questions_are_judged_where_open_and_compared_with_the_truth_where_closed(
    endpoint: Endpoint, scenes: Path, tmp_path: Path
) -> None:
    rows = [
        {"image_path": "0.png", "question": "How many ships?", "answer": "2", "candidates": ["3"]},
        {"image_path": "0.png", "question": "Why so?", "candidates": ["because of 畑", "yes"]},
        {"image_path": "1.png", "candidates": ["alone", " alone", ""]},
    ]
    path = tmp_path / "c.json"
    path.write_text(json.dumps(rows))
    endpoint.answer = by_length
    made = make(CandidatesConfig(str(scenes), path), endpoint.config(), tmp_path / "run")
    closed, judged = written(tmp_path / "run")
    assert (closed["question"], closed["chosen"], closed["rejected"]) == (
        "How many ships?",
        "2",
        ["3"],
    )
    assert (judged["question"], judged["chosen"]) == ("Why so?", "because of 畑")
    assert len(endpoint.prompts) == 2
    assert all('Question: "Why so?"' in prompt for prompt in endpoint.prompts)
    assert made.choices.left_out == {"fewer than two different candidates": 1}
    # Closed questions alone need no judge.
    path.write_text(json.dumps(rows[:1]))
    make(CandidatesConfig(str(scenes), path), AskingConfig(), tmp_path / "closed")
    assert len(written(tmp_path / "closed")) == 1


def test_images_whose_names_are_not_utf8_are_found_again(
    endpoint: Endpoint, scenes: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    name = os.fsdecode(b"caf\xe9.png")
    (folder / name).write_bytes((scenes / "0.png").read_bytes())
    endpoint.answer = lambda prompt, before: (
        endpoint.bodies[-1]["model"] if prompt.startswith("Provide") else by_length(prompt)
    )
    config = CandidatesConfig(str(folder), captioners=("openai:a", "openai:some more"))
    make(config, endpoint.config(concurrency=1), tmp_path / "run")
    assert PreferenceFiles(tmp_path / "run").read(0) is not None


def test_captioners_of_an_endpoint_add_candidates(endpoint: Endpoint, tmp_path: Path) -> None:
    def answer(prompt: str, before: int) -> str:
        if not prompt.startswith("Provide a factual description"):
            return by_length(prompt)
        return {"one": "Short.", "two": "Two ships lie at a pier.", "mute": "  "}[
            endpoint.bodies[-1]["model"]
        ]

    endpoint.answer = answer
    captioners = ("openai:one", "openai:two", "openai:mute")
    config = CandidatesConfig("scenes", captioners=captioners, max_images=3)
    made = make(config, endpoint.config(concurrency=1), tmp_path / "run")
    entries = written(tmp_path / "run")
    assert [entry["sources"] for entry in entries] == [[["two"], ["one"]]] * 3
    for number, entry in enumerate(entries):  # generated scenes are no files
        pixels = np.asarray(Image.open(tmp_path / "run" / entry["image_path"]))
        assert np.array_equal(pixels, made.images.read(number).permute(1, 2, 0).numpy())
    assert made.missing == {"mute: empty": 3}
    assert "3 x candidate of mute: empty" in left_out(made)
    # In two steps, perhaps with two endpoints: the same.
    first, second = tmp_path / "first", tmp_path / "second"
    made = make(config, replace(endpoint.config(concurrency=1), judge=None), first)
    assert written(first) == []
    assert "no judge: judge candidates.jsonl later" in " ".join(summary(made, AskingConfig()))
    make(CandidatesConfig(candidates=first / "candidates.jsonl"), endpoint.config(), second)
    for entry, again in zip(entries, written(second), strict=True):
        assert again.pop("image_path") == f"../first/{entry['image_path']}"
        assert again == {k: v for k, v in entry.items() if k != "image_path"}


def test_near_duplicates_are_left_out(scenes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    rows = []
    for number in range(6):
        pixels = np.asarray(Image.open(scenes / f"{number}.png"))
        brighter = (pixels * 0.97 + 3).astype(np.uint8)
        for name, content in ((f"{number}.png", pixels), (f"{number}b.png", brighter)):
            Image.fromarray(content).save(folder / name)
            question = {"question": "How many?", "answer": "1", "candidates": ["2"]}
            rows.append({"image_path": name, **question})
    (tmp_path / "c.json").write_text(json.dumps(rows))
    backbone = to_timm(MaskedEncoder("test_convnext", img_size=48), tmp_path / "backbone")
    config = CandidatesConfig(
        str(folder), tmp_path / "c.json", deduplicate=str(backbone), threshold=0.95
    )
    with pytest.raises(ValueError, match="cannot compare questions: give a CLIP as clip:SPEC"):
        make(config, AskingConfig(), tmp_path / "run")
    for row in rows:
        del row["question"], row["answer"]
        row["candidates"] = ["a", "b"]
    (tmp_path / "c.json").write_text(json.dumps(rows))
    with pytest.raises(ValueError, match="give --judge"):
        make(config, AskingConfig(), tmp_path / "run")
    items, source, _ = items_of_file(tmp_path / "c.json", root=folder)
    distinct = distinct_items(items, Images(source), config, AskingConfig())
    assert distinct.sizes == [2] * 6
    assert [item.image // 2 for item in distinct.items] == [*range(6)]


def test_of_questions_both_image_and_question_have_to_be_near_duplicates(
    scenes: Path, tiny_clip: str, tmp_path: Path
) -> None:
    pytest.importorskip("open_clip", reason="extra vision-language is not installed")
    questions = ["How many ships?", "How many ships?", "What lies beside the long grey road?"]
    rows = [
        {"image_path": "0.png", "question": each, "answer": str(n), "candidates": ["9"]}
        for n, each in enumerate(questions)
        if n != 1
    ]
    rows.append(
        {"image_path": "1.png", "question": questions[1], "answer": "1", "candidates": ["9"]}
    )
    (tmp_path / "c.json").write_text(json.dumps(rows))
    config = CandidatesConfig(
        str(scenes), tmp_path / "c.json", deduplicate=f"clip:{tiny_clip}", threshold=0.9999
    )
    made = make(config, AskingConfig(), tmp_path / "run")
    assert made.group_sizes == [1, 1, 1]
    assert "near-duplicates: 0 of 3 items left out; largest groups 1, 1, 1" in summary(
        made, AskingConfig()
    )


def test_mistakes_are_one_line(scenes: Path, candidates: Path, tmp_path: Path) -> None:
    def fail(*words: str | Path) -> tuple[int, str]:
        done = run("tools/make_preferences.py", *words, "--run_dir", str(tmp_path / "run"))
        return done.status, done.err.strip().splitlines()[-1]

    given = ("--candidates", candidates, "--images", scenes)
    assert fail("--images", scenes) == (
        2,
        "error: there is nothing to compare: give --captioners or --candidates",
    )
    assert fail("--captioners", "m")[1].endswith("have nothing to describe: give --images")
    assert fail(*given)[1].endswith("are compared by a judge: give --judge")
    assert "is no JSON object" in fail(*given, "--request", "[1]")[1]
    assert not (tmp_path / "run").exists()
    assert (
        "none.jsonl does not exist"
        in fail(*given, "--judge", "openai:m", "--replay", tmp_path / "none.jsonl")[1]
    )
