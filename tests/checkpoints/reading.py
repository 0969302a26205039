"""Encoders of published files, with what is known of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cmid.checkpoints import open_weights
from cmid.checkpoints.published import PublishedEncoder
from cmid.models import MaskedEncoder


def read_published(path: Path, **options: Any) -> tuple[MaskedEncoder, dict[str, Any]]:
    """The encoder, and where it comes from."""
    stored = PublishedEncoder.within(open_weights(path), path, **options)
    return stored.build(), dict(stored.provenance)
