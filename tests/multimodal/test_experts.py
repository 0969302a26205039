"""A mixture of experts against the formulas, and its identities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from cmid.multimodal.experts import Experts, ExpertsConfig, FeedForward

NAMES = {
    "gate.gate_network.0.weight": "router.first.weight",
    "gate.gate_network.2.weight": "router.second.weight",
    "gate.weight_noise.weight": "router.noise.weight",
}


@pytest.fixture
def layer(part: Callable[[str], dict[str, Tensor]]) -> Callable[[str], Experts]:
    """The reference layer, with or without activation."""

    def build(activation: Any) -> Experts:
        state = {}
        for name, tensor in part("moe_layer.state.").items():
            if name not in NAMES:
                kind, number = name.removeprefix("calculator.experts.").split(".")
                parameter, place = kind.split("_")
                name = f"experts.{number}.{place}.{parameter}"
                tensor = tensor.T if kind == "weight_down" else tensor
            state[NAMES.get(name, name)] = tensor
        experts = Experts(32, 128, ExpertsConfig(activation=activation))
        experts.load_state_dict(state)
        return experts

    return build


@pytest.mark.parametrize(("activation", "output"), [("gelu", "gelu"), ("none", "published")])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_layer_gives_the_reference_output(
    mode: str, activation: str, output: str, layer: Callable[..., Experts], lhrs: dict[str, Tensor]
) -> None:
    experts = layer(activation).train(mode == "train")
    routing = experts.router(lhrs["moe_layer.input"], lhrs["moe_layer.noise"])
    mixed, _ = experts(lhrs["moe_layer.input"], lhrs["moe_layer.noise"])
    close = torch.testing.assert_close
    close(mixed, lhrs[f"moe_layer.{mode}.output_{output}"], atol=2e-4, rtol=1e-5)
    close(routing.importance, lhrs[f"moe_layer.{mode}.importance"], atol=1e-5, rtol=1e-5)
    order = routing.indices.argsort(dim=1)
    wanted = lhrs[f"moe_layer.{mode}.indices"].argsort(dim=1)
    for ours, name in ((routing.indices, "indices"), (routing.shares, "scores")):
        theirs = lhrs[f"moe_layer.{mode}.{name}"].gather(1, wanted)
        close(ours.gather(1, order), theirs, atol=1e-5, rtol=1e-5)


def test_load_balance_loss_and_its_gradient_are_those_of_the_paper(
    layer: Callable[..., Experts], lhrs: dict[str, Tensor]
) -> None:
    experts = layer("gelu").train()
    tokens, noise = lhrs["moe_layer.input"], lhrs["moe_layer.noise"]
    routing = experts.router(tokens, noise)
    close = torch.testing.assert_close
    close(routing.load, lhrs["moe_layer.train.load_defined"], atol=1e-4, rtol=1e-4)
    # The published load compares the noise alone, and sums to more than all choices.
    published = lhrs["moe_layer.train.load_published"].sum() - 2 * len(tokens)
    assert abs(routing.load.sum() - 2 * len(tokens)) < published / 2
    _, balance = experts(tokens, noise)
    close(balance[None], lhrs["moe_layer.train.balance_loss_defined"], atol=1e-6, rtol=1e-4)
    balance.backward()
    for ours, theirs in (("first", "gate_network.0"), ("noise", "weight_noise")):
        wanted = lhrs[f"moe_layer.train.balance_grad_defined.{theirs}.weight"]
        gradient = getattr(experts.router, ours).weight.grad
        close(gradient, wanted, atol=1e-6, rtol=1e-3)
    experts.eval()
    routing = experts.router(tokens)
    close(routing.load, lhrs["moe_layer.eval.load"])
    _, balance = experts(tokens)
    close(balance[None], lhrs["moe_layer.eval.balance_loss"], atol=1e-6, rtol=1e-4)


def test_one_expert_is_a_feed_forward_network_and_balanced() -> None:
    experts = Experts(16, 32, ExpertsConfig(count=1, chosen=1))
    tokens = torch.randn(2, 5, 16)
    mixed, balance = experts(tokens)
    torch.testing.assert_close(mixed, experts.experts[0](tokens))
    assert balance == 0


def test_all_experts_chosen_are_a_softmax_mixture() -> None:
    experts = Experts(16, 32, ExpertsConfig(count=3, chosen=3)).eval()
    tokens = torch.randn(7, 16)
    router = experts.router
    shares = router.second(torch.tanh(router.first(tokens))).softmax(dim=1)
    outputs = torch.stack([expert(tokens) for expert in experts.experts], dim=2)
    torch.testing.assert_close(experts(tokens)[0], (outputs * shares[:, None]).sum(dim=2))


def test_experts_without_tokens_get_a_gradient_of_zero() -> None:
    experts = Experts(8, 16, ExpertsConfig(count=6, chosen=1))
    experts(torch.randn(1, 8))[0].sum().backward()
    gradients = [expert.up.weight.grad for expert in experts.experts]
    assert all(gradient is not None for gradient in gradients)
    assert sum(bool(gradient.any()) for gradient in gradients if gradient is not None) == 1


def test_noise_starts_at_its_least_and_only_while_training() -> None:
    experts = Experts(8, 16)
    assert not experts.router.noise.weight.any()
    tokens = torch.randn(9, 8)
    experts.eval()
    assert torch.equal(experts(tokens)[0], experts(tokens)[0])


def test_linear_experts_are_no_copy_of_a_dense_network() -> None:
    with pytest.raises(ValueError, match="another function"):
        Experts.upcycled(FeedForward(8, 16), ExpertsConfig(activation="none"))
    with pytest.raises(ValueError, match="5 of 4 experts"):
        ExpertsConfig(count=4, chosen=5)


def test_the_balance_loss_is_that_of_the_tokens_of_all_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    experts = Experts(8, 16).train()
    tokens, noise = torch.randn(24, 8), torch.randn(24, 4)
    _, whole = experts(tokens, noise)
    other = experts.router(tokens[6:], noise[6:])
    sums = torch.stack([other.importance, other.load])
    monkeypatch.setattr("cmid.multimodal.experts.mean_over_processes", lambda own: (own + sums) / 2)
    torch.testing.assert_close(experts(tokens[:6], noise[:6])[1], whole)
    _, without = experts(tokens[:6], noise[:6], counted=False)
    torch.testing.assert_close(without, experts.config.balance * other.imbalance)
