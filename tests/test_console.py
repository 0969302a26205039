from __future__ import annotations

import logging
import subprocess
import sys
import warnings

import pytest

from cmid.console import TrainingWarning, quieten, warn


@pytest.fixture(autouse=True)
def _levels_as_before():
    names = ("lightning.pytorch", "lightning.fabric")
    before = {name: logging.getLogger(name).level for name in names}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def test_notes_and_deprecations_of_libraries_are_left_out(
    recwarn: pytest.WarningsRecorder,
) -> None:
    quieten()
    for category in (DeprecationWarning, FutureWarning):
        warnings.warn("an old name", category, stacklevel=1)
    assert not recwarn.list
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    assert not logger.isEnabledFor(logging.INFO)
    assert logger.isEnabledFor(logging.WARNING)


def test_warnings_of_ours_and_of_torch_stay(recwarn: pytest.WarningsRecorder) -> None:
    quieten()
    warn("features collapse at step 3")
    warnings.warn("this GPU is too old", UserWarning, stacklevel=1)
    assert [w.category for w in recwarn.list] == [TrainingWarning, UserWarning]


def test_a_warning_of_ours_is_one_line_without_a_file() -> None:
    code = "from cmid.console import warn; warn('features collapse at step 3')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == "warning: features collapse at step 3\n"
