"""Masks of class labels as they are stored: read without loss, checked before any cast.

What a value means is known here: a label is a whole number, a palette gives its indices, and 255 is
a pixel to ignore. Whatever could be read in two ways is an error that names the file.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import UnidentifiedImageError

from cmid.data.decoding import opened_picture
from cmid.data.rasters import stored_values

IGNORED = 255
MASK_EXTENSIONS = (".png", ".tif", ".tiff", ".bmp")
_INVALID = -1
_TIFF = (".tif", ".tiff")


def read_mask(
    path: str | os.PathLike[str],
    *,
    what: str = "mask",
    labels: Collection[int] = (),
    grey_colours: bool = False,
    image: tuple[str, Sequence[int]] | None = None,
) -> NDArray[Any]:
    """Read a mask of one channel, ``(H, W)`` of whole numbers (or bool) as the file holds them.

    Args:
        path: the file; TIFF is read by rasterio where it is installed.
        what: how messages call it.
        labels: values that are allowed. A palette whose grey levels are such values, too, and not
            those of its indices, could mean either and is an error.
        grey_colours: three equal channels are one, and a palette of black and white gives 0 and
            255: for masks that tell one class by brightness.
        image: how messages call what the mask belongs to ("its image"), and the height and width
            of that, which the mask has to have.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no image, colours, fractions, an ambiguous palette or another size; names the
            file.
    """
    name = os.fspath(path)
    try:
        stored, palette = _stored(name)
    except FileNotFoundError:
        partner = "pair" if what == "label" else "image"
        raise FileNotFoundError(f"no {what} {name}: add it, or take its {partner} away") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{name} is no readable {what} ({reason}): replace it") from error
    if stored.ndim == 3 and grey_colours:
        stored = _without_colours(stored, name, what)
    if stored.ndim != 2:
        raise ValueError(
            f"{name} has {stored.shape[2]} channels: a mask has one, of class indices;"
            " tools/prepare_segmentation.py converts colours"
        )
    if image is not None and stored.shape != tuple(image[1][:2]):
        raise ValueError(
            f"{name} is {stored.shape[0]} x {stored.shape[1]}, {image[0]} {image[1][0]} x"
            f" {image[1][1]}: they must have one size"
        )
    if palette is not None:
        if grey_colours:
            return _black_and_white(stored, palette)
        _check_palette(stored, palette, labels, name)
    return _whole_numbers(stored, name, what)


def read_labels(
    path: str | os.PathLike[str],
    table: NDArray[np.int16],
    *,
    image: tuple[str, Sequence[int]] | None = None,
) -> NDArray[np.uint8]:
    """Read a mask as class indices, ``(H, W)`` uint8, 255 for pixels to ignore.

    Args:
        table: lookup table made by `label_table`.
        image: name and size of the image that the mask belongs to, see `read_mask`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as `read_mask`; or a label that the table does not know, by name.
    """
    stored = read_mask(path, labels=allowed_labels(table), image=image)
    labels, wrong = look_up(stored, table)
    if wrong.any():
        value = int(stored[wrong][0])
        raise ValueError(
            f"{os.fspath(path)} holds label {value} ({int(wrong.sum())} pixels out of range):"
            f" {describe_allowed(table, value)}"
        )
    return labels


def label_table(
    num_labels: int,
    *,
    reduce_zero_label: bool = False,
    label_map: Mapping[int, int] | None = None,
    foreground: int | None = None,
) -> NDArray[np.int16]:
    """``(256,)``: the class of each stored label, 255 for ignored ones, -1 for those not allowed.

    Args:
        num_labels: number of classes that masks may hold.
        reduce_zero_label: they are stored from 1, and 0 is ignored.
        label_map: new indices of the classes, as mmsegmentation makes it.
        foreground: the stored label of class 1 of two, such as 255 of black and white masks; all
            others hold 0, and none is ignored.

    Raises:
        ValueError: ``foreground`` for another number of classes, with ``reduce_zero_label``, or out
            of range; more than 255 classes.
    """
    table = np.full(256, _INVALID, dtype=np.int16)
    table[IGNORED] = IGNORED
    classes = [(label_map or {}).get(label, label) for label in range(num_labels)]
    if foreground is not None:
        if num_labels != 2 or reduce_zero_label or not 1 <= foreground <= 255:
            raise ValueError(
                f"foreground={foreground} is the label, 1 to 255, of class 1 of two that are stored"
                f" with 0; there are {num_labels} classes"
            )
        table[IGNORED] = _INVALID
        table[[0, foreground]] = classes
        return table
    if len(classes) + reduce_zero_label > IGNORED:
        raise ValueError(f"masks of 8 bits hold up to {IGNORED} classes, not {num_labels}")
    if reduce_zero_label:
        classes = [IGNORED, *classes]
    table[: len(classes)] = classes
    return table


def same_labels(labels: Collection[int]) -> NDArray[np.int16]:
    """A table for `look_up` of labels that stay as they are; no other one is allowed."""
    table = np.full(256, _INVALID, dtype=np.int16)
    table[[*labels]] = [*labels]
    return table


def allowed_labels(table: NDArray[np.int16]) -> list[int]:
    """The stored labels that a table of `label_table` knows, in order."""
    return np.flatnonzero(table != _INVALID).tolist()


def describe_allowed(table: NDArray[np.int16], wrong: int) -> str:
    """What masks may hold, for a message about a label that they may not hold."""
    allowed = allowed_labels(table)
    if IGNORED in allowed and table[IGNORED] != IGNORED:  # the foreground
        return f"allowed are {allowed[0]} and {allowed[1]}"
    classes = [label for label in allowed if label != IGNORED]
    text = f"allowed are 0 to {classes[-1]}"
    if IGNORED in allowed:
        text += ", and 255 for pixels to ignore"
    if wrong == classes[-1] + 1 and table[0] != IGNORED:
        text += "; where labels count from 1, say so (reduce_zero_label, zero_ignored)"
    return text


def look_up(
    stored: NDArray[Any], table: NDArray[np.int16]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Classes of stored labels, and which pixels hold a label that is not allowed.

    Args:
        stored: ``(H, W)`` of any whole-number type or bool.
        table: lookup table made by `label_table`.

    Returns:
        ``(H, W)`` uint8, without meaning where the second, ``(H, W)`` bool, is True.
    """
    wide = stored.astype(np.int64)  # nothing is cut off: the check comes before the cast
    outside = (wide < 0) | (wide > 255)
    labels = table[np.where(outside, 0, wide)]
    wrong = outside | (labels == _INVALID)
    return labels.astype(np.uint8), wrong


def _stored(name: str) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
    """Values ``(H, W)`` or ``(H, W, C)``, and the ``(256, 3)`` colours of a palette."""
    if name.lower().endswith(_TIFF):
        # Pillow knows few of the types that GeoTIFF has, and inverts some.
        values = stored_values(name)
        if values is not None:
            return values[0] if len(values) == 1 else values.transpose(1, 2, 0), None
    with opened_picture(name) as picture:
        stored = np.array(picture)
        colours = picture.getpalette("RGB") if picture.mode == "P" else None
    if colours is None:
        return stored, None
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[: len(colours) // 3] = np.array(colours[: len(colours) // 3 * 3]).reshape(-1, 3)
    return stored, palette


def _without_colours(stored: NDArray[Any], name: str, what: str) -> NDArray[Any]:
    """``(H, W)`` of two to four channels that are grey, with transparency that hides nothing."""
    channels = stored.shape[2]
    grey = stored[..., 0]
    if channels >= 3 and (stored[..., 1:3] != grey[..., None]).any():
        raise ValueError(f"{name} holds colours: a {what} has one channel of 0 and 1, or 255")
    if channels in (2, 4) and (stored[..., -1] != stored[0, 0, -1]).any():
        raise ValueError(f"{name} is transparent in places: save it with one channel")
    return grey


def _black_and_white(stored: NDArray[Any], palette: NDArray[np.uint8]) -> NDArray[Any]:
    """Indices, or the brightness where a palette has nothing but black and white."""
    used = np.unique(stored)
    colours = palette[used]
    if ((colours == 0) | (colours == 255)).all() and (colours == colours[:, :1]).all():
        return palette[stored][..., 0]
    return stored


def _check_palette(
    stored: NDArray[Any], palette: NDArray[np.uint8], labels: Collection[int], name: str
) -> None:
    used = np.unique(stored)
    colours = palette[used].astype(int)
    grey = colours[:, 0]
    if (colours != grey[:, None]).any() or (grey == used).all():
        return
    # Grey levels that climb to white are a palette for the eye; others may be labels themselves.
    for_the_eye = (np.diff(grey) > 0).all() and grey[-1] == 255 and len(used) > 1
    if for_the_eye or not set(grey.tolist()) <= {*labels, IGNORED}:
        return
    place = int(np.flatnonzero(grey != used)[0])
    raise ValueError(
        f"{name} has a palette in which index {used[place]} is grey level {grey[place]}, and both"
        " are labels: save it in grey, without a palette"
    )


def _whole_numbers(stored: NDArray[Any], name: str, what: str) -> NDArray[Any]:
    if stored.dtype == bool or np.issubdtype(stored.dtype, np.integer):
        return stored
    whole = np.isfinite(stored) & (stored == np.round(stored)) & (np.abs(stored) < 2**31)
    if not np.issubdtype(stored.dtype, np.floating) or not whole.all():
        value = stored[~whole][0]
        raise ValueError(
            f"{name} holds {stored.dtype} values such as {value}: a {what} holds whole numbers"
        )
    return stored.astype(np.int64)
