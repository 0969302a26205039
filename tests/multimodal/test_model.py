"""A whole small model: losses, answers, folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("transformers", reason="extra multimodal is not installed")

import cmid.multimodal
from cmid.multimodal.building import MultimodalConfig, build_model
from cmid.multimodal.experts import ExpertsConfig
from cmid.multimodal.language import AdapterConfig, LanguageConfig
from cmid.multimodal.losses import answer_loss
from cmid.multimodal.tokens import IGNORED, TemplateConfig

Small = Callable[..., Any]
QUESTIONS: list[Any] = [
    "Is there a ship?",
    [("How many?", "2"), ("And planes beside the long hall?", None)],
    "What?",
    "How does <image> differ from <image>?",
]
ADAPTER = {"adapter": AdapterConfig(rank=4, alpha=8)}


def asked(pictures: list[Tensor]) -> list[Any]:
    """Of each of `QUESTIONS` its images: one, none, one, two."""
    return [pictures[0], None, pictures[1], pictures[2:4]]


@pytest.mark.parametrize("name", ["tiny:llama:64x2", "tiny:gpt2:64x2"])
def test_answers_do_not_depend_on_the_batch_or_the_side_of_padding(
    name: str, small: Small, pictures: list[Tensor]
) -> None:
    model = small(name)
    images = asked(pictures)
    together = model.generate(QUESTIONS, images, max_tokens=10)
    assert together == model.generate(QUESTIONS, images, max_tokens=10, batch_size=1)
    assert len(set(together)) == len(together)
    streamed = ["".join(model.stream(*each, max_tokens=10)) for each in zip(QUESTIONS, images)]  # noqa: B905
    assert streamed == together
    logits = {}
    with torch.no_grad():
        for side in ("left", "right"):
            spliced, _, _ = model._read(model.batch(QUESTIONS, images), side=side)
            rows = model.language(**model.language_inputs(spliced)).logits
            logits[side] = [row[real.bool()] for row, real in zip(rows, spliced.mask, strict=True)]
        for number, (question, image) in enumerate(zip(QUESTIONS, images, strict=True)):
            alone = model(model.batch([question], [image])).logits[0]
            torch.testing.assert_close(logits["left"][number], alone, atol=1e-4, rtol=0)
            torch.testing.assert_close(logits["right"][number], alone, atol=1e-4, rtol=0)


def test_answers_depend_on_the_image_and_on_its_place(small: Small, pictures: list[Tensor]) -> None:
    model = small()
    with torch.no_grad():
        a, b, c = (
            model(model.batch([question], [image])).logits[0, -1]
            for question, image in (
                ("<image>what", pictures[0]),
                ("<image>what", pictures[3]),
                ("what<image>", pictures[0]),
            )
        )
    assert (a - b).abs().max() > 1e-2
    assert (a - c).abs().max() > 1e-2


def test_images_may_be_one_tensor_and_one_text_is_no_list(
    small: Small, pictures: list[Tensor]
) -> None:
    model = small()
    equal = [pictures[0], pictures[0].flip(-1)]
    stacked = model.generate(["What?"] * 2, torch.stack(equal), max_tokens=4)
    assert stacked == model.generate(["What?"] * 2, equal, max_tokens=4)
    for images in (None, pictures[0], [pictures[0]]):
        for call in (model.generate, model.batch):
            with pytest.raises(ValueError, match="one text 'What is it', not a list"):
                call("What is it", images)


def test_what_is_drawn_follows_seed_temperature_and_top_p(
    small: Small, pictures: list[Tensor]
) -> None:
    model = small()
    model.language.generation_config.update(do_sample=True, temperature=9.0, repetition_penalty=3.0)
    ask = {"conversations": QUESTIONS[:1] * 3, "images": pictures[:1] * 3, "max_tokens": 8}
    greedy = model.generate(**ask)
    assert len(set(greedy)) == 1
    drawn = model.generate(**ask, temperature=2.0, seed=1)
    assert drawn == model.generate(**ask, temperature=2.0, seed=1)
    assert len({*drawn, *greedy}) == 4
    # With next to nothing left to draw from, or next to no heat, the likeliest is drawn.
    assert model.generate(**ask, temperature=2.0, top_p=1e-6) == greedy
    assert model.generate(**ask, temperature=1e-4) == greedy


def test_beams_find_the_answer_that_is_likeliest_as_a_whole() -> None:
    """Most answers begin with c, and yet dog is said more often than cat or car."""
    model = build_model(MultimodalConfig(language=LanguageConfig("tiny:llama:32x1", "bytes")))
    answers = ["cat"] * 3 + ["car"] * 3 + ["dog"] * 4
    batch = model.batch([[("what", answer)] for answer in answers])
    optimizer = torch.optim.AdamW(model.language.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        model(batch).loss.backward()
        optimizer.step()
    assert model.generate(["what"] * 2, max_tokens=8)[0] in ("cat", "car")
    assert model.generate(["what"] * 2, max_tokens=8, beams=3) == ["dog"] * 2
    with pytest.raises(ValueError, match="beams 3 at temperature"):
        model.generate(["what"], beams=3, temperature=0.5)
    with pytest.raises(ValueError, match="beams 3: an answer that is streamed has 1"):
        next(model.stream("what", beams=3))


def test_stop_texts_end_an_answer_also_while_it_streams(
    small: Small, pictures: list[Tensor]
) -> None:
    model = small()
    whole = model.generate(["what"], pictures[1:2], max_tokens=30)[0]
    stop = whole[4:6]
    ask = {"max_tokens": 30, "stop": (stop,)}
    (cut,) = model.generate(["what"], pictures[1:2], **ask)
    assert cut == whole.partition(stop)[0].strip()
    parts = list(model.stream("what", pictures[1], **ask))
    assert "".join(parts) == cut
    stream = model.stream("what", pictures[1], max_tokens=1000)
    next(stream)
    stream.close()  # and not after a thousand tokens


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"temperature": -1}, "temperature -1"),
        ({"top_p": 0}, "top_p 0"),
        ({"max_tokens": 0}, "max_tokens 0"),
        ({"max_tokens": 3000}, "exceed the 2048"),
    ],
)
def test_settings_out_of_range_are_refused(
    options: dict[str, Any], fault: str, small: Small
) -> None:
    with pytest.raises(ValueError, match=fault):
        small().generate(["what"], **options)


def test_the_loss_averages_tokens_samples_or_answers() -> None:
    # Two answers of 1 and 4 tokens in the first sample, one of 2 in the second.
    labels = torch.full((2, 9), IGNORED)
    labels[0, 1], labels[0, 4:8], labels[1, 3:5] = 0, 0, 0
    logits = torch.randn(2, 9, 5)
    each = -logits.log_softmax(dim=2)[..., 0][:, :-1]  # of the next token
    first, second, third = each[0, 0:1], each[0, 3:7], each[1, 2:4]
    wanted = {
        "tokens": torch.cat([first, second, third]).mean(),
        "samples": (torch.cat([first, second]).mean() + third.mean()) / 2,
        "answers": (first.mean() + second.mean() + third.mean()) / 3,
        "roots": (first.sum() + second.sum() / 2 + third.sum() / 2**0.5) / (1 + 2 + 2**0.5),
    }
    for average, value in wanted.items():
        loss = answer_loss(logits, labels, average=average)  # type: ignore[arg-type]
        torch.testing.assert_close(loss, value)


@pytest.mark.parametrize("name", ["tiny:llama:64x2", "tiny:gpt2:64x2"])
@pytest.mark.parametrize("average", ["tokens", "roots"])
@pytest.mark.parametrize("language", [{}, ADAPTER])
def test_logits_of_learned_tokens_alone_give_the_same_loss_and_gradients(
    name: str, average: Any, language: dict[str, Any], small: Small, pictures: list[Tensor]
) -> None:
    model = small(name, language=language)
    asked = [[("How many?", "12"), ("Of what?", "ships at the pier")], [("What?", "a port")]]
    batch = model.batch(asked, pictures[:2])
    found = []
    for whole in (True, False):
        model.zero_grad()
        output = model(batch, average=average, whole=whole)
        output.loss.backward()
        gradients = {k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None}
        found.append((output, gradients))
    (one, one_gradients), (other, other_gradients) = found
    learned = one.spliced.labels[:, 1:] != IGNORED
    assert other.logits.shape == (learned.sum(), one.logits.shape[2])
    torch.testing.assert_close(other.logits, one.logits[:, :-1][learned])
    torch.testing.assert_close(other.loss, one.loss)
    torch.testing.assert_close(other_gradients, one_gradients, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("whole", [True, False])
def test_a_batch_of_which_nothing_is_learned_costs_nothing(
    whole: bool, small: Small, pictures: list[Tensor]
) -> None:
    model = small()
    loss = model(model.batch(["what"], pictures[:1]), whole=whole).loss
    assert loss == 0
    loss.backward()
    assert all(p.grad is not None for p in model.perceiver.parameters())


def test_a_batch_without_images_still_gives_every_parameter_a_gradient(small: Small) -> None:
    model = small(perceiver={"kind": "nova"}).train()
    before = {k: v.clone() for k, v in model.tower.named_buffers() if "running" in k}
    model(model.batch([[("q", "a")]])).loss.backward()
    assert model.tower.training
    assert all(p.grad is not None for p in model.perceiver.parameters())
    assert all(torch.equal(v, model.tower.get_buffer(k)) for k, v in before.items())


def test_the_loss_includes_the_balance_of_experts(small: Small, pictures: list[Tensor]) -> None:
    experts = ExpertsConfig(balance=0.5)
    model = small(perceiver={"kind": "nova", "experts": experts}).train()
    output = model(model.batch([[("q", "a")]] * 2, pictures[:2]))
    assert output.parts["balance"] > 1e-3
    torch.testing.assert_close(output.loss, output.parts["language"] + output.parts["balance"])


@pytest.mark.parametrize("language", [{}, ADAPTER])
def test_a_folder_gives_the_same_answers(
    language: dict[str, Any], small: Small, pictures: list[Tensor], tmp_path: Path
) -> None:
    model = small(language=language)
    for name, parameter in model.language.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    ask = {"conversations": QUESTIONS, "images": asked(pictures), "max_tokens": 8}
    answers = model.generate(**ask)
    folder = cmid.multimodal.save_model(model, tmp_path / "model")
    again = cmid.multimodal.load(folder)
    assert again.generate(**ask) == answers
    assert not any(parameter.requires_grad for parameter in again.parameters())
    cmid.multimodal.save_model(again, folder)
    assert cmid.multimodal.load(folder, trainable=True).generate(**ask) == answers
    files = {path.name for path in folder.iterdir()}
    assert files - {"adapter"} == {
        *("config.json", "language", "model.safetensors", "tokenizer"),
    }
    assert ("adapter" in files) == bool(language)


def test_a_language_model_that_can_be_had_elsewhere_is_named_and_not_copied(
    small: Small, pictures: list[Tensor], tmp_path: Path
) -> None:
    model = small(language=ADAPTER)
    elsewhere = tmp_path / "base"
    base = model.language.unload()
    base.save_pretrained(elsewhere)
    model.encoder.tokenizer.save_pretrained(elsewhere)
    model = small(str(elsewhere), language=ADAPTER)
    assert not model.keeps_language
    answers = model.generate(QUESTIONS, asked(pictures), max_tokens=8)
    folder = cmid.multimodal.save_model(model, tmp_path / "model")
    assert not (folder / "language").exists()
    moved = elsewhere.rename(tmp_path / "moved")
    again = cmid.multimodal.load(folder, language_model=str(moved))
    assert again.generate(QUESTIONS, asked(pictures), max_tokens=8) == answers
    small("tiny:llama:32x1").language.save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="another language model"):
        cmid.multimodal.load(folder, language_model=str(tmp_path / "other"))


def test_damaged_folders_are_named(small: Small, tmp_path: Path) -> None:
    folder = cmid.multimodal.save_model(small(), tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    with pytest.raises(ValueError, match=r"model.safetensors is damaged"):
        cmid.multimodal.load(folder)
    config = json.loads((folder / "config.json").read_text()) | {"multimodal": 99}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="no multimodal model of this version"):
        cmid.multimodal.load(folder)
    with pytest.raises(FileNotFoundError, match=r"has no config.json"):
        cmid.multimodal.load(tmp_path)


def test_exported_backbones_of_any_bands_are_towers(small: Small, tmp_path: Path) -> None:
    from cmid.data.statistics import ChannelStatistics
    from cmid.export import to_timm
    from cmid.models import MaskedEncoder
    from cmid.multimodal.tower import TowerConfig, build_tower

    five = ChannelStatistics((0.5,) * 5, (0.2,) * 5, (0.0,) * 5, (255.0,) * 5)
    swin = ("swin_tiny_patch4_window7_224", {"embed_dim": 24, "depths": (1, 1, 1, 1)})
    for (name, args), widths in (
        (("test_vit", {}), [64] * 3),
        (("test_resnet", {}), [48, 192, 96]),
        (swin, [48, 96, 192]),
    ):
        encoder = MaskedEncoder(name, in_chans=5, img_size=32, **args)
        folder = to_timm(encoder, tmp_path / name, statistics=five)
        tower = build_tower(TowerConfig(str(folder))).eval()
        exported = encoder.backbone.state_dict()
        for key, weight in tower.network.state_dict().items():
            assert torch.equal(weight, exported[key])
        levels = tower(torch.zeros(2, 5, 32, 32))
        assert [level.tokens.shape[2] for level in levels] == list(tower.widths) == widths
        assert all(level.tokens.shape[1] == level.grid[0] * level.grid[1] for level in levels)
    with pytest.raises(ValueError, match=r"tower.levels \[0, 9\]"):
        build_tower(TowerConfig("random:test_resnet", levels=(0, 9)))


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
def test_what_lies_beyond_the_deepest_level_is_neither_kept_nor_computed(name: str) -> None:
    from cmid.multimodal.tower import LevelTower, TowerConfig, build_tower

    torch.manual_seed(0)
    images = torch.rand(2, 3, 64, 64)
    whole = build_tower(TowerConfig(f"random:{name}", size=64)).eval()
    deepest = whole.levels[-1].index
    part = build_tower(TowerConfig(f"random:{name}", (deepest - 2, deepest - 1), size=64)).eval()
    both = build_tower(TowerConfig(f"random:{name}", (deepest - 1, deepest), size=64)).eval()
    assert torch.equal(part(images)[1].tokens, both(images)[0].tokens)
    assert len(part.state_dict()) < len(both.state_dict()) == len(whole.state_dict())
    again = LevelTower.from_plain(part.to_plain()).eval()
    again.load_state_dict(part.state_dict())
    assert torch.equal(again(images)[1].tokens, part(images)[1].tokens)


def test_settings_of_language_models_are_checked(small: Small) -> None:
    for name, fault in (("tiny:llama", "tiny:KIND:WIDTHxLAYERS"), ("tiny:none:64x2", "none:64x2")):
        with pytest.raises(ValueError, match=fault):
            small(name)
    with pytest.raises(ValueError, match="not for an untrained model"):
        small(language={"quantise": 4})


def test_a_published_template_works_with_any_tokenizer(
    small: Small, pictures: list[Tensor]
) -> None:
    for name in ("llama2", "llama3", "plain"):
        model = small(template=TemplateConfig(name))
        assert len(model.generate(["what"], pictures[:1], max_tokens=4)) == 1
