"""Every question and answer as a line of JSON: the record of a run, and what it goes on from."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import IO, Any

from cmid.vision_language.judging.asking import (
    About,
    Reply,
    Request,
    VisionModel,
    request_key,
)

logger = logging.getLogger(__name__)

NOT_RECORDED = "no answer in the transcript"
_FAILURES_IN_A_ROW = 20


class Transcript:
    """Answers that were given, by what was asked.

    Lines are appended as answers come. A line that a killed process left unfinished is taken away.

    Args:
        path: the file; a missing one is begun.
        replay: only what is recorded is answered; the file stays as it is.

    Attributes:
        replay: see above.
        usage: by role and name of the model, counts of ``asked``, ``recorded``, ``failed``,
            ``retries``, ``prompt_tokens``, ``new_tokens`` and ``without_counts``; tokens are those
            of all answers that were used, also recorded ones, ``paid_...`` those asked for now.

    Raises:
        FileNotFoundError: there is nothing to replay.
        ValueError: a line is damaged.
    """

    def __init__(self, path: Path, *, replay: bool = False) -> None:
        self.path, self.replay = path, replay
        self.usage: dict[str, Counter[str]] = {}
        self._replies: dict[str, Reply] = {}
        self._file: IO[bytes] | None = None
        if replay and not path.is_file():
            raise FileNotFoundError(f"transcript {path} does not exist")
        whole = self._read() if path.is_file() else 0
        if not replay:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab")
            self._file.truncate(whole)

    def ask(
        self, model: VisionModel, requests: Iterable[Request], *, role: str
    ) -> Iterator[tuple[About, Reply]]:
        """Answer requests, in any order: from the record, else by the model, which is recorded.

        Args:
            role: what ``usage`` counts them under, before the name of the model.

        Raises:
            ValueError: the model cannot answer, or 20 requests in a row failed.
        """
        usage = self.usage.setdefault(f"{role} {model.name}", Counter())
        known: list[tuple[About, Reply]] = []

        def unanswered() -> Iterator[Request]:
            for request in requests:
                reply = self._replies.get(request_key(model, request))
                if reply is None and self.replay:
                    reply = Reply(error=NOT_RECORDED)
                if reply is None:
                    yield request
                else:
                    usage["recorded"] += not reply.error
                    known.append((request.about, reply))

        failures = 0
        for request, reply in model.answer(unanswered()):
            usage["asked"] += 1
            usage["retries"] += reply.retries
            usage["paid_prompt_tokens"] += reply.prompt_tokens or 0
            usage["paid_new_tokens"] += reply.new_tokens or 0
            self._add(model, request, reply)
            failures = failures + 1 if reply.error else 0
            if failures == _FAILURES_IN_A_ROW:
                raise ValueError(
                    f"{failures} requests to {model.name} failed in a row, the last one:"
                    f" {reply.error}; answers are recorded: run the same command again to go on"
                )
            yield request.about, self._counted(usage, reply)
            while known:
                about, old = known.pop()
                yield about, self._counted(usage, old)
        for about, old in known:
            yield about, self._counted(usage, old)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _counted(self, usage: Counter[str], reply: Reply) -> Reply:
        usage["failed"] += bool(reply.error)
        usage["prompt_tokens"] += reply.prompt_tokens or 0
        usage["new_tokens"] += reply.new_tokens or 0
        usage["without_counts"] += not reply.error and reply.prompt_tokens is None
        return reply

    def _add(self, model: VisionModel, request: Request, reply: Reply) -> None:
        key = request_key(model, request)
        if not reply.error:
            self._replies[key] = reply
        assert self._file is not None
        line: dict[str, Any] = {
            "key": key,
            "model": model.name,
            "settings": {**model.settings},
            "image": request.digest,
            "prompt": request.prompt,
            "round": request.round,
            "attempt": request.attempt,
        }
        self._file.write((json.dumps(line | asdict(reply), ensure_ascii=False) + "\n").encode())
        self._file.flush()

    def _read(self) -> int:
        """Take in the lines; bytes up to the last whole one."""
        names = [each.name for each in fields(Reply)]
        whole = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    logger.warning("%s: its last line is unfinished and left out", self.path)
                    break
                try:
                    entry = json.loads(line)
                    key, reply = entry["key"], Reply(**{name: entry[name] for name in names})
                except (ValueError, KeyError, TypeError):
                    raise ValueError(
                        f"{self.path}, line {number}, is no line of a transcript: take it out"
                    ) from None
                whole += len(line)
                if not reply.error:
                    self._replies[key] = reply
        return whole
