"""One whole training step against the published formulae, written out without the code under test.

Same weights, views, masks, queue and centre; compared are dense features, every term, all
gradients, and queue, centre and teacher afterwards.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor

from cmid.methods import CMID
from cmid.models import ema_momentum
from cmid.views import Views

BATCH, SIZE, MATCHES, PROTOTYPES, QUEUE = 3, 64, 3, 24, 32
TEACHER_TEMPERATURE, LEARNING_RATE, STEP, STEPS = 0.04, 0.05, 250, 1000
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet": ("resnet50", {"layers": (2, 1, 1, 1), "channels": (8, 16, 16, 24)}),
    # timm's Swin drops paths by default, the published one does not.
    "swin": (
        "swin_tiny_patch4_window7_224",
        {"embed_dim": 24, "depths": (1, 2, 1, 1), "num_heads": (1, 2, 3, 4)},
    ),
}


def close(
    actual: Tensor, expected: Tensor, tolerance: float = 1e-6, *, scale: float | Tensor = 0.0
) -> None:
    """Relative to the largest entry: small ones are differences of large float32 numbers.

    ``scale``: magnitude below which an entry counts as rounding.
    """
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= tolerance * max(expected.abs().max(), scale)


def example_views() -> Views:
    images = torch.randn(2 * BATCH, 3, SIZE, SIZE)
    masks = torch.rand(2 * BATCH, 2, 2) < 0.6
    masks[0] = torch.tensor([[True, False], [True, True]])
    pixels = masks.repeat_interleave(32, 1).repeat_interleave(32, 2)[:, None]
    masked = torch.where(pixels, images.mean((2, 3), keepdim=True), images)
    matrix = torch.eye(3).repeat(2 * BATCH, 1, 1)
    matrix[:, 0, 0], matrix[:, 1, 1] = 0.5 + torch.rand(2, 2 * BATCH)
    matrix[::2, 0, 0] *= -1  # every other view is flipped
    matrix[:, :2, 2] = torch.rand(2 * BATCH, 2) * 90
    return Views(images, masked, masks, matrix)


@dataclass
class Reference:
    """Student or teacher: a timm network and the tensors of the heads, by the names of ours."""

    network: Any
    heads: dict[str, Tensor]

    @classmethod
    def of(cls, branch: torch.nn.Module, family: str) -> Reference:
        name, arguments = NETWORKS[family]
        size = {"img_size": SIZE} if family == "swin" else {}
        network = timm.create_model(name, num_classes=0, drop_path_rate=0.0, **arguments, **size)
        state = {k: v.clone() for k, v in branch.state_dict().items()}
        start = "encoder.backbone."
        network.load_state_dict(
            {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}
        )
        trained = {name for name, _ in branch.named_parameters()}
        heads = {
            k: v.requires_grad_() if k in trained else v
            for k, v in state.items()
            if not k.startswith(start)
        }
        return cls(network.train(), heads)

    def tensor(self, name: str) -> Tensor:
        """A parameter by the name that it has in a branch of CMID."""
        start = "encoder.backbone."
        if name.startswith(start):
            return self.network.get_parameter(name.removeprefix(start))
        return self.heads[name]

    def dense(self, images: Tensor, masks: Tensor | None = None) -> Tensor:
        """The network, with the token added behind its stem: ``(2B, D, N, N)``."""
        n = self.network
        swin = hasattr(n, "patch_embed")
        x = n.patch_embed(images) if swin else n.maxpool(n.act1(n.bn1(n.conv1(images))))
        if masks is not None:
            cells = np.kron(masks.numpy(), np.ones((1, 8, 8)))  # stride 4, blocks of 32 pixels
            token = self.heads["encoder.mask_token"]
            added = torch.from_numpy(cells).float()[..., None] * token  # (2B, 16, 16, width)
            x = x + (added if swin else added.permute(0, 3, 1, 2))
        if swin:
            return n.norm(n.layers(x)).permute(0, 3, 1, 2)
        return n.layer4(n.layer3(n.layer2(n.layer1(x))))

    def project(self, dense: Tensor) -> Tensor:
        h, name = self.heads, "projector.mlp"
        x = dense.mean((2, 3)) @ h[f"{name}.0.weight"].T + h[f"{name}.0.bias"]
        x = x.clamp(min=0) @ h[f"{name}.2.weight"].T + h[f"{name}.2.bias"]
        return x / x.norm(dim=1, keepdim=True)

    def cells(self, x: Tensor) -> Tensor:
        """The local head on ``(2B, cells, D)``: cosines with the prototypes, the same way round."""
        h, normed, layer = self.heads, "local_head.mlp.1.weight" in self.heads, 0
        for _ in range(2):
            x = x @ h[f"local_head.mlp.{layer}.weight"][..., 0].T
            x = x + h[f"local_head.mlp.{layer}.bias"]
            if normed:
                layer += 1
                mean, var = x.mean((0, 1)), x.var((0, 1), unbiased=False)
                x = (x - mean) / (var + 1e-5).sqrt()
                x = x * h[f"local_head.mlp.{layer}.weight"] + h[f"local_head.mlp.{layer}.bias"]
            x, layer = 0.5 * x * (1 + torch.erf(x / math.sqrt(2))), layer + 2
        x = x @ h[f"local_head.mlp.{layer}.weight"][..., 0].T + h[f"local_head.mlp.{layer}.bias"]
        prototypes = h["local_head.prototypes.weight"][..., 0]
        prototypes = prototypes / prototypes.norm(dim=1, keepdim=True)
        return x / x.norm(dim=-1, keepdim=True) @ prototypes.T


def reconstruction(dense: Tensor, weight: Tensor, bias: Tensor, views: Views) -> dict[str, Tensor]:
    """Both terms of each view, averaged."""
    stride, grid = 32, SIZE // 32
    x = torch.einsum("bdyx,od->boyx", dense, weight[..., 0, 0]) + bias[:, None, None]
    x = x.reshape(2 * BATCH, 3, stride, stride, grid, grid).permute(0, 1, 4, 2, 5, 3)
    pred = x.reshape(2 * BATCH, 3, SIZE, SIZE)
    pixels = torch.from_numpy(np.kron(views.masks.numpy(), np.ones((1, 32, 32)))).float()[:, None]
    spatial, frequency = [], []
    for view in (slice(0, BATCH), slice(BATCH, None)):
        p, t, m = pred[view], views.images[view], pixels[view]
        error = (p - t).abs()
        focal = error * (2 / (1 + torch.exp(-0.2 * error)) - 1)
        spatial.append((focal * m).sum() / (m.sum() + 1e-5) / 3)
        w = m + (1 - m) * 0.001
        blended = p * w + (0.5 * p.detach() + 0.5 * t) * (1 - w)
        spectra = [torch.fft.fft2(images, norm="ortho").mean(0) for images in (blended, t)]
        gap = spectra[0] - spectra[1]
        squared = gap.real**2 + gap.imag**2
        hardness = torch.log(1 + squared.detach().sqrt())
        frequency.append((hardness / hardness.max() * squared).mean())
    return {"spatial": sum(spatial) / 2, "frequency": sum(frequency) / 2}


def contrast(queries: Tensor, keys: Tensor, queue: Tensor) -> Tensor:
    """InfoNCE of each view against the other, image by image."""
    losses = []
    for i, query in enumerate(queries):
        key = keys[(i + BATCH) % (2 * BATCH)]
        logits = torch.cat([(query @ key)[None], query @ queue]) / 0.2
        losses.append(logits.logsumexp(0) - logits[0])
    return torch.stack(losses).mean()


def nearest_cells(matrices: np.ndarray) -> list[tuple[list[int], list[int]]]:
    """For each image the cells of ``matrices[0]``'s view that are kept, and their partners."""
    grid = SIZE // 32
    centres = np.array(
        [[32 * (x + 0.5), 32 * (y + 0.5), 1] for y in range(grid) for x in range(grid)]
    )
    pairs = []
    for of_image in zip(*matrices, strict=True):
        here, there = ((centres @ matrix.T)[:, :2] for matrix in of_image)
        gap = np.sqrt(((here[:, None] - there[None]) ** 2).sum(-1))
        kept = sorted(np.argsort(gap.min(1), kind="stable")[:MATCHES])
        pairs.append((kept, [int(gap[cell].argmin()) for cell in kept]))
    return pairs


def local(
    student: Reference, teacher: Reference, dense: Tensor, clean: Tensor, views: Views
) -> tuple[Tensor, Tensor]:
    """The local loss both ways, and the centre afterwards."""
    matrices = views.matrices.double().numpy().reshape(2, BATCH, 3, 3)
    pairs = nearest_cells(matrices) + nearest_cells(matrices[::-1])
    flat, flat_clean = (x.flatten(2).transpose(1, 2) for x in (dense, clean))  # (2B, cells, D)
    mine = torch.stack([flat[i, kept] for i, (kept, _) in enumerate(pairs)])
    other = [flat_clean[(i + BATCH) % (2 * BATCH), p] for i, (_, p) in enumerate(pairs)]
    guesses = student.cells(mine)
    with torch.no_grad():
        answers = teacher.cells(torch.stack(other))
    centre, losses = torch.linspace(-0.3, 0.3, PROTOTYPES), []
    for guess, answer in zip(guesses.chunk(2), answers.chunk(2), strict=True):
        target = torch.exp((answer - centre) / TEACHER_TEMPERATURE)
        target = target / target.sum(-1, keepdim=True)
        scaled = guess / 0.1
        losses.append((target * (scaled.logsumexp(-1, keepdim=True) - scaled)).sum(-1).mean())
        centre = 0.9 * centre + 0.1 * answer.mean((0, 1))
    return (losses[0] + losses[1]) / 2, centre


def prepared(family: str) -> CMID:
    """A method whose teacher, token, queue and centre are no longer those of the start."""
    torch.manual_seed(3)
    name, arguments = NETWORKS[family]
    options = {"num_prototypes": PROTOTYPES, "num_matches": MATCHES, "queue_size": QUEUE}
    model = CMID(name, img_size=SIZE, backbone_args=arguments, **options).train()
    for name, parameter in model.named_parameters():
        if "bias" not in name and not name.startswith("teacher"):
            parameter.data += 0.02 * torch.randn_like(parameter)
    for parameter in model.teacher.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    model.local_loss.center.copy_(torch.linspace(-0.3, 0.3, PROTOTYPES).view(1, -1, 1))
    return model


@pytest.mark.parametrize("family", NETWORKS)
def test_a_step_is_that_of_the_published_formulae(family: str) -> None:
    model, views = prepared(family), example_views()
    student, teacher = (Reference.of(b, family) for b in (model.student, model.teacher_branch))
    head = copy.deepcopy(model.reconstruct.project)
    queue = model.agreement.queue.keys.clone()

    dense = student.dense(views.masked, views.masks)
    with torch.no_grad():
        clean = teacher.dense(views.images)
        keys = teacher.project(clean)
    expected = reconstruction(dense, head.weight, head.bias, views)
    expected["contrastive"] = contrast(student.project(dense), keys, queue)
    expected["local"], centre = local(student, teacher, dense, clean, views)
    sum(expected.values()).backward()

    close(model.student.encoder(views.masked, views.masks).detach(), dense.detach())
    terms, _ = model.losses(views, TEACHER_TEMPERATURE)
    assert list(terms) == list(expected)
    for name, term in terms.items():
        close(term.detach(), expected[name].detach())
    model.total(terms).backward()
    close(model.reconstruct.project.weight.grad, head.weight.grad)
    close(model.reconstruct.project.bias.grad, head.bias.grad)
    largest = max(p.grad.abs().max() for p in model.student.parameters())
    for name, parameter in model.student.named_parameters():
        # A bias before BatchNorm has no gradient but rounding.
        close(parameter.grad, student.tensor(name).grad, 5e-6, scale=1e-2 * largest)
    close(model.agreement.queue.keys, torch.cat([keys.T, queue[:, 2 * BATCH :]], dim=1))
    close(model.local_loss.center.flatten(), centre)

    torch.optim.SGD(model.parameters(), LEARNING_RATE).step()
    model.teacher.update(model.student, ema_momentum(STEP, STEPS))
    tau = 1 - (1 - 0.996) * (math.cos(math.pi * STEP / STEPS) + 1) / 2
    for name, parameter in model.teacher_branch.named_parameters():
        moved = student.tensor(name) - LEARNING_RATE * student.tensor(name).grad
        close(parameter, (tau * teacher.tensor(name) + (1 - tau) * moved).detach())
