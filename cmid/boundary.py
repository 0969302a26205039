"""Where every command ends: what its user can mend is one line, a fault of the program a traceback.

Imports nothing heavy: commands answer ``--help`` before torch is there.

Expected, one line ``error: ...``, status 1:

- what the system says (any ``OSError``: a missing file, a full disk, no network);
- a ``ValueError``, ``ImportError`` or ``FloatingPointError``, or an exception class of this
  project, that a ``raise`` statement outside the installed libraries raised: somebody wrote that
  text for the user. The same class raised by torch or numpy, or by an expression of ours that
  failed (``int("x")``), is a fault;
- what Lightning and jsonargparse say of settings: a ``MisconfigurationException``, and what their
  modules that read options and the callbacks that users add raise;
- a package that an extra brings and that is not installed, a device that the machine lacks, a
  server that does not answer;
- another process of the same run that ended: it has told why;
- memory that ran out, with the options that need less.

All else keeps its traceback. Errors that crossed a process (workers of a DataLoader, pools,
``torch.multiprocessing``) are judged by the traceback that they carry as text.
"""

from __future__ import annotations

import builtins
import dis
import pkgutil
import re
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TOLD = (ValueError, ImportError, FloatingPointError)
_OUR_PACKAGES = ("cmid", "benchmarks")
# Modules of libraries whose errors are about what a user set.
_JUDGES_OF_SETTINGS = (
    "/jsonargparse/",
    "/lightning/pytorch/callbacks/",
    "/lightning/pytorch/trainer/",
    "/lightning/pytorch/loops/utilities.py",
    "/lightning/fabric/connector.py",
    "/lightning/fabric/accelerators/",
    "/lightning/fabric/utilities/device_parser.py",
)
_NETWORK = ("httpx", "huggingface_hub", "requests", "urllib3")
# What torch says of a device that the user named and that is not there.
_NO_DEVICE = (
    "Found no NVIDIA driver",
    "No CUDA GPUs are available",
    "not compiled with CUDA",
    "invalid device ordinal",
    "Invalid device string",
    "at start of device string",
    "MPS backend is",
    "without MPS",
)
# What gloo, NCCL and torch's store say where the process at the other end is gone.
_OTHER_ENDED = (
    "gloo/transport/",
    "remote process exited",
    "NCCL communicator was aborted",
    "Connection was likely closed",
)
_RAISE = dis.opmap["RAISE_VARARGS"]
_INTERRUPTED = 130  # the shell's 128 + SIGINT

# The extra that brings a package.
_EXTRAS = {
    "rasterio": "geo",
    "lancedb": "search",
    "sklearn": "evaluation",
    "umap": "evaluation",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "open_clip": "vision-language",
    "transformers": "vision-language",
    "wandb": "wandb",
    **dict.fromkeys(("datasets", "faiss", "openai", "peft", "pyarrow", "ray", "trl"), "scoring"),
    **dict.fromkeys(("gradio", "tokenizers"), "multimodal"),
    **dict.fromkeys(("mmengine", "mmcv", "mmseg", "mmdet", "mmrotate", "mmpretrain"), "openmmlab"),
    "lightly": "baselines",
}
_SIZE = re.compile(r"allocate ([\d.]+ ?\w+)")


@contextmanager
def error_boundary(
    *,
    traceback: bool = False,
    memory: str = "--batch_size",
    again: str = "",
    skip: str = "",
) -> Iterator[None]:
    """Run a command's work; see the module for what becomes one line.

    Args:
        traceback: let every error pass with its traceback.
        memory: options of this command that need less memory.
        again: what a user does after an interruption; a `KeyboardInterrupt` with a text of its own
            comes first.
        skip: the option with which this command counts and skips faulty entries, if it has one;
            errors with a true attribute ``skippable`` advise it.

    Raises:
        SystemExit: with the line, or with status 130 after an interruption.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        if traceback:
            raise
        text = str(error) or "; ".join(filter(None, ("interrupted", again)))
        print(f"\n{text}", file=sys.stderr)
        raise SystemExit(_INTERRUPTED) from None
    except Exception as error:
        line = None if traceback else expected_line(error, memory=memory)
        if line is None:
            raise
        if skip and getattr(error, "skippable", False):
            line += f", or count and skip such entries with {skip}"
        raise SystemExit(f"error: {line}") from None


def expected_line(error: BaseException, *, memory: str = "--batch_size") -> str | None:
    """The line that tells a user of an error, None for a fault of the program.

    Args:
        memory: options that need less memory.
    """
    error = _original(error)
    told = _from_other_process(error) or _as_raised(error)
    exhausted = _exhausted(told, memory)
    if exhausted:
        return exhausted
    if issubclass(told.kind, RuntimeError) and any(sign in told.text for sign in _OTHER_ENDED):
        return "another process of this run has ended: the line that it printed says why"
    extra = _EXTRAS.get((getattr(error, "name", None) or "").partition(".")[0])
    if isinstance(error, ImportError) and extra:
        return _missing(str(error.name).partition(".")[0], extra)
    if not told.is_expected():
        return None
    text = " ".join(told.text.split())
    return text or told.kind.__name__


@dataclass(frozen=True)
class _Told:
    """An error as it was raised.

    Attributes:
        kind: exception class.
        text: message.
        file: source file of the innermost frame, empty where there is none.
        by_hand: True if that frame stands at a raise statement.
    """

    kind: type[BaseException]
    text: str
    file: str
    by_hand: bool

    def is_expected(self) -> bool:
        package = self.kind.__module__.partition(".")[0]
        if issubclass(self.kind, OSError) or package in _NETWORK:
            return True
        if self.kind.__name__ == "MisconfigurationException":
            return True
        if issubclass(self.kind, RuntimeError | AssertionError) and any(
            sign in self.text for sign in _NO_DEVICE
        ):
            return True
        return self._by_us()

    def _by_us(self) -> bool:
        """Whether somebody wrote the text for the user."""
        if not self.by_hand:
            return False
        if any(part in self.file.replace("\\", "/") for part in _JUDGES_OF_SETTINGS):
            return True
        ours = self.kind.__module__.partition(".")[0] in _OUR_PACKAGES
        return (ours or issubclass(self.kind, _TOLD)) and not _of_a_library(self.file)


def _exhausted(told: _Told, memory: str) -> str | None:
    """What to do where memory ran out, of the device or of the machine."""
    text = told.text
    if issubclass(told.kind, RuntimeError) and "DataLoader worker" in text:
        if "Bus error" in text or "shared memory" in text:
            return (
                "the processes that read images ran out of shared memory (/dev/shm): lower"
                " --data.num_workers or --data.batch_size"
            )
        if "Killed" in text or "exited unexpectedly" in text:
            return (
                "a process that reads images was killed, mostly because memory ran out: lower"
                f" the number of workers, or {memory}"
            )
    if told.kind.__name__ == "BrokenProcessPool":
        return f"a worker process was killed, mostly because memory ran out: lower {memory}"
    out = issubclass(told.kind, MemoryError) or told.kind.__name__ == "OutOfMemoryError"
    if issubclass(told.kind, RuntimeError) and not out:
        signs = ("out of memory", "DefaultCPUAllocator", "ALLOC_FAILED")
        out = any(sign in text for sign in signs)
    if not out:
        return None
    size = _SIZE.search(text)
    wanted = f" ({size[1]} more were wanted)" if size else ""
    device = "GPU" if "CUDA" in text or "HIP" in text else "this device"
    return f"out of memory on {device}{wanted}: lower {memory}"


def _missing(package: str, extra: str) -> str:
    made = " (or make openmmlab)" if extra == "openmmlab" else ""
    return f"{package} is not installed: pip install 'cmid[{extra}]'{made}"


def _original(error: BaseException) -> BaseException:
    """The error that another one of the same class only repeats, as OpenMMLab's registries do."""
    inner = error.__cause__ or error.__context__
    while inner is not None and type(inner) is type(error) and str(error).endswith(str(inner)):
        error, inner = inner, inner.__cause__ or inner.__context__
    return error


def _as_raised(error: BaseException) -> _Told:
    trace = error.__traceback__
    if trace is None:
        return _Told(type(error), str(error), "", False)
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    by_hand = code.co_code[trace.tb_lasti] == _RAISE
    return _Told(type(error), str(error), code.co_filename, by_hand)


def _of_a_library(file: str) -> bool:
    if file.startswith("<"):
        return True
    path = Path(file).resolve()
    home = Path(__file__).resolve().parents[1]  # site-packages, where cmid is installed as a wheel
    if any(path.is_relative_to(home / package) for package in _OUR_PACKAGES):
        return False
    if {"site-packages", "dist-packages"} & set(path.parts):
        return True
    return path.is_relative_to(Path(sysconfig.get_paths()["stdlib"]).resolve())


def _from_other_process(error: BaseException) -> _Told | None:
    """What another process raised, from the traceback that arrives as text."""
    cause = error.__cause__
    if cause is not None and type(cause).__name__ in ("_RemoteTraceback", "RemoteTraceback"):
        text = str(cause)
    else:
        text = str(error)
        if "Traceback (most recent call last)" not in text:
            return None
    lines = text.strip().strip('"').splitlines()
    frames = [number for number, line in enumerate(lines) if line.lstrip().startswith('File "')]
    if not frames:
        return None
    path = lines[frames[-1]].split('"')[1]
    following = lines[frames[-1] + 1 :]
    statement = following[0].strip() if following else ""
    end = next((n for n, line in enumerate(following) if line and not line[0].isspace()), None)
    if end is None:
        return None
    name, _, message = "\n".join(following[end:]).partition(": ")
    kind = _class_of(name.strip()) or type(error)
    return _Told(kind, message.strip(), path, statement.startswith("raise "))


def _class_of(name: str) -> type[BaseException] | None:
    try:
        found = getattr(builtins, name, None) or pkgutil.resolve_name(name)
    except (ValueError, ImportError, AttributeError):
        return None
    return found if isinstance(found, type) and issubclass(found, BaseException) else None
