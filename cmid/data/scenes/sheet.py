"""A picture of what scenes there are."""

from __future__ import annotations

from pathlib import Path

from PIL import Image as PillowImage
from PIL import ImageDraw

from cmid.data.scenes.scene import SCENE_CLASSES, generate_scene
from cmid.files import whole_file


def contact_sheet(
    path: str | Path, *, size: int = 64, scale: int = 3, columns: int = 8, seed: int = 0
) -> None:
    """Write a PNG with ``columns`` scenes of every class, one class a row."""
    cell, margin = size * scale, 100
    sheet = PillowImage.new("RGB", (margin + cell * columns, cell * len(SCENE_CLASSES)), "white")
    pen = ImageDraw.Draw(sheet)
    for row, name in enumerate(SCENE_CLASSES):
        pen.text((4, row * cell + cell // 2), name, fill="black")
    for index in range(columns * len(SCENE_CLASSES)):
        scene = generate_scene(index, seed=seed, size=size)
        picture = PillowImage.fromarray(scene.image.permute(1, 2, 0).numpy())
        picture = picture.resize((cell - 2, cell - 2), PillowImage.Resampling.BICUBIC)
        column = index // len(SCENE_CLASSES)
        sheet.paste(picture, (margin + column * cell, scene.label * cell))
    with whole_file(path) as partial:
        sheet.save(partial, format="PNG")
