"""Values of any range as 8-bit pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PERCENTS = (2.0, 98.0)


def stretched(
    values: NDArray[np.generic],
    missing: NDArray[np.bool_] | None = None,
    *,
    percents: tuple[float, float] = PERCENTS,
) -> NDArray[np.uint8]:
    """Stretch each band linearly, from a low to a high percentile of what is not missing.

    Args:
        values: ``(C, H, W)``.
        missing: of the same shape; missing pixels become 0.

    Returns:
        ``(C, H, W)``; a band of one value is 0.
    """
    out = np.zeros(values.shape, dtype=np.uint8)
    for band, plane in enumerate(values):
        valid = np.isfinite(plane) if missing is None else np.isfinite(plane) & ~missing[band]
        if not valid.any():
            continue
        low, high = np.percentile(plane[valid].astype(np.float64), percents)
        if high > low:
            unit = (plane[valid].astype(np.float64) - low) / (high - low)
            out[band][valid] = (unit.clip(0, 1) * 255).round()
    return out
