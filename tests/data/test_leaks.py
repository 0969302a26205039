"""Copies of test images among training images."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from torch import Tensor

from cmid.data import Image, ImageSource, SceneSource
from cmid.data.leaks import TestImages, find_leaks
from cmid.data.perceptual_hash import grey_canvas, orientations, perceptual_hash, turned
from cmid.data.source import Draws, MinSize


class Pictures(ImageSource):
    """Images in memory."""

    def __init__(self, pictures: list[Tensor]) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def decode(self, index: int, min_size: MinSize, generator: Draws) -> Image:
        pixels = self.pictures[index]
        return Image(pixels, tuple(pixels.shape[1:]), name=f"picture {index}")  # type: ignore[arg-type]


def jpeg(pixels: Tensor, quality: int) -> Tensor:
    buffer = io.BytesIO()
    picture = PillowImage.fromarray(pixels.permute(1, 2, 0).numpy())
    picture.save(buffer, "JPEG", quality=quality)
    return torch.from_numpy(np.array(PillowImage.open(buffer))).permute(2, 0, 1)


def smaller(pixels: Tensor) -> Tensor:
    return torch.nn.functional.interpolate(pixels[None], (96, 80), mode="bilinear")[0]


COPIES = {
    "encoded again": lambda x: jpeg(x, 40),
    "flipped": lambda x: x.flip(2),
    "turned and flipped": lambda x: jpeg(x.flip(1).rot90(1, (1, 2)), 70),
    "scaled": smaller,
    "cropped": lambda x: jpeg(x[:, 7:121, 12:126], 80),
    "cropped and turned": lambda x: jpeg(x[:, 20:128, :108].rot90(3, (1, 2)), 80),
}


@pytest.fixture(scope="module")
def scenes() -> list[Tensor]:
    source = SceneSource(40, size=128, seed=5)
    return [source[index].pixels for index in range(len(source))]


def test_every_planted_copy_is_found_and_named_and_nothing_else(scenes: list[Tensor]) -> None:
    tests, training = scenes[:10], scenes[10:]
    copies = [copy(tests[k]) for k, copy in enumerate(COPIES.values())]
    source = Pictures([*training, *copies])
    found = find_leaks(source, {"AID": Pictures(tests[:5]), "NWPU": Pictures(tests[5:])})
    assert [leak.index for leak in found] == [30, 31, 32, 33, 34, 35], [*COPIES]
    assert [(leak.test_set, leak.name) for leak in found] == [
        *(("AID", f"picture {k}") for k in range(5)),
        ("NWPU", "picture 0"),
    ]
    assert all(0.75 <= leak.similarity <= 1.001 for leak in found)
    assert str(found[0]).startswith("AID: picture 0 (")


def test_any_number_of_copies_in_a_test_set_is_found(scenes: list[Tensor]) -> None:
    whole = [copy(scenes[20]) for name, copy in COPIES.items() if "cropped" not in name]
    copies = [*whole, *[scenes[20]] * 3]
    tests = {"test": Pictures([*scenes[:10], *copies])}
    every = find_leaks(Pictures(scenes[19:22]), tests, all_twins=True)
    assert sorted(leak.place for leak in every) == [*range(10, 17)]
    assert {leak.index for leak in every} == {1}
    best = find_leaks(Pictures(scenes[19:22]), tests)
    assert [(leak.index, leak.place >= 10) for leak in best] == [(1, True)]


def test_images_without_contrast_are_copies_of_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 2, (4, 3, 64, 64), generator=generator)
    water = [(100 + each).to(torch.uint8) for each in noise]
    assert find_leaks(Pictures(water), {"sea": Pictures(water)}) == []


def test_a_neighbour_of_the_embeddings_has_to_look_alike(scenes: list[Tensor]) -> None:
    same = torch.nn.functional.normalize(torch.ones(4, 8), dim=1)
    tests = TestImages({"test": Pictures(scenes[:4])}, same)
    canvases = torch.stack([grey_canvas(pixels) for pixels in scenes[4:8]])
    assert tests.leaks(canvases, same) == []
    plain = TestImages({"test": Pictures(scenes[:4])})
    assert plain.digest != tests.digest


def test_orientations_of_hashes_are_hashes_of_turned_images(scenes: list[Tensor]) -> None:
    canvas = grey_canvas(scenes[0])
    of_turned = torch.cat([perceptual_hash(turned(canvas, k)) for k in range(8)])
    torch.testing.assert_close(orientations(perceptual_hash(canvas))[0], of_turned)


def test_bands_and_types_other_than_rgb_have_hashes(scenes: list[Tensor]) -> None:
    wide = torch.cat([scenes[0].float() * 257, scenes[0][:1].float()])
    alike = perceptual_hash(grey_canvas(wide)) @ perceptual_hash(grey_canvas(scenes[0])).T
    assert float(alike) > 0.95
