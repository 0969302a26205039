"""What the console of a training shows: our own lines, and warnings that a user can act upon.

Imports nothing heavy: it is called before libraries are imported, whose imports warn, too.
"""

from __future__ import annotations

import logging
import warnings

# Lightning tells of hardware that is not there, of its makers' products, of the end of training.
_CHATTY = ("lightning.pytorch", "lightning.fabric")
# Modules whose warnings are about how they are called, which is our business, not the user's.
_WARNING_OF_US = r"(lightning|lightning_utilities|jsonargparse|torch\.utils\.data|torch\.optim)\b"


def quieten() -> None:
    """Leave out notes of Lightning and deprecations of any library, for the rest of the process.

    Once before libraries are imported, for what imports say, and once afterwards: Lightning sets
    its own levels then. Errors stay, warnings of this project, and those of torch about devices
    and numbers.
    """
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
        warnings.filterwarnings("ignore", category=category)
    warnings.filterwarnings("ignore", category=UserWarning, module=_WARNING_OF_US)
    # Lightning warns of arguments that come from Python while sys.argv has some, too.
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
    warnings.filterwarnings("always", category=TrainingWarning)


class TrainingWarning(UserWarning):
    """Something is wrong with the training itself; always shown."""


def warn(message: str) -> None:
    """Print one line ``warning: ...`` and let Python's warning filters count it.

    The usual form would add a file and a line of a library that called back.
    """
    usual = warnings.formatwarning
    warnings.formatwarning = lambda text, *args, **more: f"warning: {text}\n"
    try:
        warnings.warn(message, TrainingWarning, stacklevel=2)
    finally:
        warnings.formatwarning = usual
