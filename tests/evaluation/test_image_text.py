from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cmid.data.source import Image, ImageSource
from cmid.evaluation.image_text import (
    embed_classes,
    embed_images,
    embed_texts,
    fit_square,
)
from cmid.evaluation.image_text_retrieval import (
    chance_recalls,
    first_relevant,
    image_text_retrieval,
    recalls,
)
from cmid.evaluation.zero_shot import classification_scores, zero_shot_classification
from tests.evaluation.image_text_model import COLOURS, ColourCLIP, coloured

NAMES = [*COLOURS]
TEMPLATES = ("a {} square", "{}")


class Squares(ImageSource):
    def __init__(self, count: int, *, wrong: Sequence[int] = ()) -> None:
        self.images = [coloured(NAMES[k % 3], 20, 20 + 4 * (k % 4)) for k in range(count)]
        self.labels = [(k + (k in wrong)) % 3 for k in range(count)]
        self.classes = NAMES

    def __len__(self) -> int:
        return len(self.images)

    def read(
        self,
        index: int,
        *,
        min_size: tuple[float, float] | None = None,
        generator: np.random.Generator | None = None,
    ) -> Image:
        pixels = self.images[index]
        return Image(pixels, tuple(pixels.shape[1:]), self.labels[index], f"{index}.png")


@dataclass
class Entry:
    image: Image
    captions: tuple[str, ...]


class Captioned:
    def __init__(self, entries: Sequence[tuple[str, Tensor, Sequence[str]]]) -> None:
        self.entries = [
            Entry(Image(pixels, (20, 20), name=name), tuple(captions))
            for name, pixels, captions in entries
        ]

    def __len__(self) -> int:
        return len(self.entries)

    def read(self, index: int, *, min_size: tuple[float, float] | None = None) -> Entry:
        return self.entries[index]


def test_embeddings_do_not_depend_on_the_batch_size_and_leave_the_model_as_it_was() -> None:
    model, source = ColourCLIP().train(), Squares(11)
    whole, labels = embed_images(model, source, batch_size=64)
    parts, _ = embed_images(model, source, batch_size=3)
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(whole.norm(dim=1), torch.ones(11))
    assert labels.tolist() == source.labels
    assert model.training
    assert model.dropout.training


def test_a_square_is_cut_from_the_centre_or_squeezed() -> None:
    pixels = torch.zeros(3, 20, 40, dtype=torch.uint8)
    pixels[:, :, 10:30] = 255
    assert (fit_square(pixels, 20) == 255).all()
    assert (fit_square(pixels, 10)[:, :, 1:-1] == 255).all()
    squeezed = fit_square(pixels, 20, fit="squash")
    assert (squeezed[:, :, 7:13] == 255).all()
    assert (squeezed[:, :, [0, 1, -2, -1]] == 0).all()


def test_texts_are_cached_by_model_and_text(tmp_path: Path) -> None:
    model = ColourCLIP()
    texts = ["red", "two", "red"]
    first = embed_texts(model, texts, cache=tmp_path)
    assert model.encoded_texts == ["red", "two"]
    torch.testing.assert_close(first[0], first[2])
    torch.testing.assert_close(embed_texts(model, texts, cache=tmp_path, batch_size=1), first)
    assert model.encoded_texts == ["red", "two"]
    model.digest = "others"
    embed_texts(model, texts, cache=tmp_path)
    embed_texts(model, ["red"], cache=tmp_path)
    assert model.encoded_texts == ["red", "two"] * 2 + ["red"]
    assert len([*tmp_path.iterdir()]) == 3


def test_a_class_is_the_normalised_mean_of_its_templates() -> None:
    model = ColourCLIP().eval()
    classes = embed_classes(model, NAMES, templates=TEMPLATES)
    with torch.no_grad():
        for row, name in zip(classes, NAMES, strict=True):
            each = model.encode_texts([template.format(name) for template in TEMPLATES])
            torch.testing.assert_close(row, F.normalize(F.normalize(each, dim=1).mean(0), dim=0))
    with pytest.raises(ValueError, match=r"'a square' has no \{\}"):
        embed_classes(model, NAMES, templates=["a square"])


def test_zero_shot_classification_finds_the_colours() -> None:
    source = Squares(12, wrong=(4, 7))
    scores = zero_shot_classification(
        ColourCLIP(), source, names=NAMES, templates=TEMPLATES, batch_size=5
    )
    assert scores.top1 == pytest.approx(10 / 12)
    assert scores.top5 == 1
    assert scores.per_class == pytest.approx({"red": 1, "green": 1, "blue": 4 / 6})
    assert scores.mean_class == pytest.approx((1 + 1 + 4 / 6) / 3)
    with pytest.raises(ValueError, match="2 class names for 3 classes"):
        zero_shot_classification(ColourCLIP(), source, names=NAMES[:2], templates=TEMPLATES)


def test_top_five_equals_sorting_and_classes_without_images_do_not_count() -> None:
    similarity, labels = torch.randn(50, 9), torch.randint(0, 8, (50,))
    scores = classification_scores(similarity, labels, [str(k) for k in range(9)])
    order = np.argsort(-similarity.numpy(), axis=1)
    hits = order == labels.numpy()[:, None]
    assert scores.top1 == pytest.approx(hits[:, 0].mean())
    assert scores.top5 == pytest.approx(hits[:, :5].any(axis=1).mean())
    assert math.isnan(scores.per_class["8"])
    assert 0 < scores.mean_class < 1
    with pytest.raises(ValueError, match="labels from 0 to 8"):
        classification_scores(similarity, labels - 1, [str(k) for k in range(9)])


def brute_force(similarity: Tensor, relevant: Tensor, k: int) -> float:
    found = 0
    for row, right in zip(similarity.tolist(), relevant.tolist(), strict=True):
        nearest = sorted(range(len(row)), key=lambda j: -row[j])[:k]
        found += any(right[j] for j in nearest)
    return found / len(similarity)


def test_recalls_equal_brute_force() -> None:
    similarity, relevant = torch.randn(13, 29), torch.rand(13, 29) < 0.1
    relevant[torch.arange(13), torch.arange(13)] = True
    relevant[torch.arange(29) % 13, torch.arange(29)] = True
    scores = recalls(similarity, relevant)
    for k in (1, 5, 10):
        expected = brute_force(similarity, relevant, k), brute_force(similarity.T, relevant.T, k)
        assert (scores[f"image_to_text@{k}"], scores[f"text_to_image@{k}"]) == pytest.approx(
            expected
        )
    assert scores["mean"] == pytest.approx((scores["image_to_text"] + scores["text_to_image"]) / 2)


def test_a_collapsed_model_retrieves_nothing() -> None:
    relevant = torch.eye(4, dtype=torch.bool)
    assert first_relevant(torch.ones(4, 4), relevant).tolist() == [3, 3, 3, 3]
    assert recalls(torch.ones(4, 4), relevant, ks=(1,))["mean"] == 0


def test_chance_equals_the_mean_over_random_rankings() -> None:
    relevant = torch.rand(6, 15) < 0.25
    relevant[torch.arange(15) % 6, torch.arange(15)] = True
    chance = chance_recalls(relevant, ks=(1, 3, 20))
    drawn = [recalls(torch.rand(6, 15), relevant, ks=(1, 3, 20)) for _ in range(3000)]
    for name, value in chance.items():
        assert value == pytest.approx(np.mean([scores[name] for scores in drawn]), abs=0.02)
    assert chance["image_to_text@20"] == 1


def test_retrieval_takes_images_and_captions_once() -> None:
    red, green, blue = (coloured(name) for name in NAMES)
    source = Captioned(
        [
            ("a", red, ["red", "warm"]),
            ("b", green, ["green", "a  field "]),
            ("a", red, ["red", "reddish", "red"]),  # the same image again
            ("c", blue, ["a field"]),  # a caption of another image
            ("copy of b", green, ["a copy"]),
        ]
    )
    model = ColourCLIP()
    scores = image_text_retrieval(model, source, prefix="see: ", batch_size=2)
    assert (scores.images, scores.repeated_images) == (4, 1)
    assert (scores.texts, scores.repeated_texts) == (6, 3)
    wanted = ["red", "warm", "green", "a field", "reddish", "a copy"]
    assert model.encoded_texts == [f"see: {text}" for text in wanted]
    assert model.encoded_images == 4
    relevant = torch.tensor(
        [[1, 1, 0, 0, 1, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 1]]
    ).bool()
    assert scores.chance == chance_recalls(relevant)
    # "red" and "reddish" have one embedding, and are both right for the red image.
    assert scores.recalls["image_to_text@10"] == 1
    pixels = image_text_retrieval(model, source, identity="pixels", batch_size=2)
    assert (pixels.images, pixels.repeated_images) == (3, 2)


def test_retrieval_equals_brute_force_on_embeddings_for_any_batch_size() -> None:
    captions = [("red", "one"), ("green", "two"), ("blue", "three"), ("red and blue", "one")]
    pictures = [coloured(NAMES[k % 3]) for k in range(4)]
    source = Captioned(
        [(str(k), p, c) for k, (p, c) in enumerate(zip(pictures, captions, strict=True))]
    )
    model = ColourCLIP().eval()
    texts = ["red", "one", "green", "two", "blue", "three", "red and blue"]
    with torch.no_grad():
        images = torch.stack([fit_square(p, 16) for p in pictures])
        similarity = (
            F.normalize(model.encode_images(images).pooled, dim=1)
            @ F.normalize(model.encode_texts(texts), dim=1).T
        )
    relevant = torch.tensor([[text in own for text in texts] for own in captions])
    for batch_size in (1, 3, 64):
        scores = image_text_retrieval(model, source, prefix="", batch_size=batch_size)
        assert scores.recalls == pytest.approx(recalls(similarity, relevant))


def test_bad_images_and_captions_are_named() -> None:
    with pytest.raises(ValueError, match="a has no caption"):
        image_text_retrieval(ColourCLIP(), Captioned([("a", coloured("red"), [" "])]))
    wide = coloured("red").float()
    with pytest.raises(ValueError, match=r"a has 3 bands of float32: convert it to 3 bands of 8"):
        image_text_retrieval(ColourCLIP(), Captioned([("a", wide, ["x"])]))
    model = ColourCLIP()
    torch.nn.init.constant_(model.mix.weight, float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        embed_texts(model, ["red"])
