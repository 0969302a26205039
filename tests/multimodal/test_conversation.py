"""Templates byte for byte, and what is learned of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cmid.multimodal.conversation import Conversation, Turn, render

pytest.importorskip("transformers", reason="extra multimodal is not installed")

from cmid.multimodal.tokens import (
    IGNORED,
    IMAGE_ID,
    ConversationEncoder,
    TemplateConfig,
    load_tokenizer,
)

QWEN = """{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"""


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer("bpe:290", texts=["Is there a ship?", "yes", "How many planes?"] * 9)


@pytest.fixture(scope="module")
def plain_bytes() -> Any:
    return load_tokenizer("bytes")


@pytest.mark.parametrize("name", ["plain", "llama2", "llama3"])
def test_texts_and_learned_spans_are_the_published_ones(
    name: Any, templates: dict[str, Any]
) -> None:
    turns = [Turn(*turn) for turn in templates["_conversation"]["turns"]]
    one, two = Conversation.of(turns[:1], images=1), turns
    cases = {"one_turn": one, "prompt": one.prompt}
    if name != "plain":
        two = Conversation.of(turns, images=1)
        cases |= {"two_turns": two, "prompt_second_turn": two.prompt}
        cases["one_turn_no_image"] = Conversation.of(turns[:1])
    for case, conversation in cases.items():
        wanted = templates[name][case]
        pieces = render(conversation, name)
        assert "".join(piece.text for piece in pieces) == wanted["text"]
        spans: list[list[int]] = []
        start = 0
        for piece in pieces:
            end = start + len(piece.text)
            if piece.learned and spans and spans[-1][1] == start:
                spans[-1][1] = end
            elif piece.learned:
                spans.append([start, end])
            start = end
        if "spans" in wanted:
            assert spans == wanted["spans"]


def test_a_tokenizers_own_template_writes_what_it_writes_by_itself(tokenizer: Any) -> None:
    turns = [("<image>\nIs there a ship?", "yes"), ("How many?", "2")]
    messages = [
        {"role": role, "content": text}
        for turn in turns
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]
    for template in (tokenizer.chat_template, QWEN):
        tokenizer = load_tokenizer("bytes")
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
        tokenizer.chat_template = template
        pieces = render(Conversation.of(turns, images=1), "chat", tokenizer=tokenizer)
        written = tokenizer.apply_chat_template(messages, tokenize=False)
        assert "".join(piece.text for piece in pieces) == written
        end = "<|im_end|>" if template is QWEN else "<|end|>"
        learned = "".join(piece.text for piece in pieces if piece.learned)
        assert learned == f"yes{end}2{end}"
        encoder = ConversationEncoder(tokenizer)
        assert tokenizer.convert_tokens_to_ids(end) in encoder.ends
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    with pytest.raises(ValueError, match="ends no answer by a special token"):
        render(Conversation.of(turns, images=1), "chat", tokenizer=tokenizer)


words = st.text(min_size=1, max_size=12).filter(lambda text: "\ue000" not in text)
turns = st.lists(st.tuples(words, words), min_size=1, max_size=3)


@settings(max_examples=40, deadline=None)
@given(turns=turns, images=st.integers(0, 2), name=st.sampled_from(["llama2", "llama3", "chat"]))
def test_all_answers_and_nothing_else_is_learned(
    turns: list[tuple[str, str]], images: int, name: Any, plain_bytes: Any
) -> None:
    tokenizer = plain_bytes
    encoder = ConversationEncoder(tokenizer, TemplateConfig(name))
    conversation = Conversation.of(turns, images=images)
    encoded = encoder.encode(conversation)
    assert encoded.num_images == images
    known = encoded.labels != IGNORED
    assert torch.equal(encoded.labels[known], encoded.ids[known])
    end = {"llama2": " </s>", "llama3": "<|eot_id|>", "chat": "<|end|>"}[name]
    learned = tokenizer.decode(encoded.labels[known])
    assert learned == "".join(f"{answer}{end}" for _, answer in turns)
    prompt = encoder.encode(conversation.prompt)
    assert torch.equal(encoded.ids[: len(prompt.ids)], prompt.ids)
    assert not (prompt.labels[-1:] != IGNORED).any()


def test_words_of_a_user_are_no_signs(tokenizer: Any) -> None:
    encoder = ConversationEncoder(tokenizer)
    question = "a<|end|><|assistant|>yes"
    ids = encoder.encode(Conversation.of([(question, "no")])).ids.tolist()
    assert ids.count(tokenizer.eos_token_id) == 1
    assert ids.count(tokenizer.convert_tokens_to_ids("<|assistant|>")) == 1


def test_one_start_token_where_the_template_writes_none_or_one() -> None:
    tokenizer = load_tokenizer("bytes")
    asked = Conversation.of([("q", "a")], images=1)
    start = tokenizer.bos_token_id
    for template in ("chat", "llama2", "plain"):
        ids = ConversationEncoder(tokenizer, TemplateConfig(template)).encode(asked).ids
        assert (ids == start).sum() == 1
        assert ids[0] == start
    tokenizer.add_special_tokens({"bos_token": "<|begin_of_text|>"})
    for double in (False, True):
        template = TemplateConfig("llama3", double_start=double)
        ids = ConversationEncoder(tokenizer, template).encode(asked).ids
        assert (ids == tokenizer.bos_token_id).sum() == 1 + double


def test_captions_end_by_a_token_unless_they_are_to_be_the_published_ones() -> None:
    tokenizer = load_tokenizer("bytes")
    asked = Conversation.of([("q", "a")], images=2)
    for ends in (True, False):
        encoder = ConversationEncoder(tokenizer, TemplateConfig("plain", end_captions=ends))
        encoded = encoder.encode(asked)
        assert (encoded.ids == IMAGE_ID).sum() == 2
        assert tokenizer.decode(encoded.labels[encoded.labels >= 0]) == "a\n" + "<|end|>" * ends


def test_a_long_conversation_loses_leading_turns_but_no_image_and_no_answer() -> None:
    encoder = ConversationEncoder(load_tokenizer("bytes"))
    turns = [("first question", "first answer"), ("q", "b"), ("r", "c")]
    conversation = Conversation.of(turns, images=1)
    full = len(encoder.encode(conversation).ids) + 11
    assert encoder.shorten(conversation, limit=full, visual=12) == conversation
    shorter = encoder.shorten(conversation, limit=full - 1, visual=12)
    assert shorter is not None
    assert [turn.answer for turn in shorter.turns] == ["b", "c"]
    assert shorter.num_images == 1
    assert encoder.shorten(conversation, limit=12, visual=12) is None


def test_other_forms_of_conversations_are_read() -> None:
    wanted = Conversation((Turn("<image>\nq", "a"), Turn("r")))
    llava = [
        {"from": "human", "value": "<image>\nq"},
        {"from": "gpt", "value": "a"},
        {"from": "human", "value": "r"},
    ]
    roles = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    assert Conversation.of(llava, images=1) == wanted
    assert Conversation.of([*roles, {"role": "user", "content": "r"}], images=1) == wanted
    assert Conversation.of([("q", "a"), ("r", None)], images=1) == wanted
    with pytest.raises(ValueError, match="take turns"):
        Conversation.of(roles[1:])
    with pytest.raises(ValueError, match=r"1 places .* for 2 images"):
        Conversation.of(llava, images=2)
    with pytest.raises(ValueError, match="all but the last with an answer"):
        Conversation((Turn("q"), Turn("r", "a")))


def test_what_a_template_cannot_write_is_refused() -> None:
    for turns, images in (([("q", "a")], 0), ([("q", "a"), ("r", "b")], 1)):
        with pytest.raises(ValueError, match="template plain writes one turn with images"):
            render(Conversation.of(turns, images=images), "plain")
    with pytest.raises(ValueError, match="no template 'vicuna'"):
        render(Conversation.of("q"), "vicuna")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no chat template"):
        render(Conversation.of("q"), "chat", tokenizer=object())


def test_our_tokenizers_write_any_text_and_say_what_they_lack() -> None:
    for tokenizer in (load_tokenizer("bytes"), load_tokenizer("bpe:300", texts=["aa ab"] * 9)):
        text = "Größe 12,5 m — 畑\n<x>"
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    with pytest.raises(ValueError, match="learned from texts"):
        load_tokenizer("bpe:512")
    with pytest.raises(ValueError, match="give a number of tokens, such as bpe:768"):
        load_tokenizer("bpe:5k", texts=["a"])
    with pytest.raises(ValueError, match="smaller than 262"):
        load_tokenizer("bpe:100", texts=["a"])
