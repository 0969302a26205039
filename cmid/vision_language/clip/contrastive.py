"""Agreement of images (or regions) and texts, over the samples of all processes.

Equal texts are one text: a batch often repeats captions, and category names always repeat. The
softmax runs over the *different* texts, and every image with a text is right for it. Where no text
repeats, this is the symmetric InfoNCE of CLIP (arXiv:2103.00020).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cmid.precision import full_precision
from cmid.processes import gather_rows, gather_rows_with_gradient


def multi_positive_loss(
    images: Tensor, texts: Tensor, labels: Tensor, scale: Tensor, *, balance: bool = False
) -> Tensor:
    r"""Symmetric contrastive loss with several images per text.

    .. math:: L = \frac{1}{2} \left(
        \operatorname{mean}_i -\log \frac{e^{s v_i \cdot u_{y_i}}}{\sum_j e^{s v_i \cdot u_j}}
        + \operatorname{mean}_i \operatorname{KL}(P_{y_i} \,\|\, \operatorname{softmax}_k
        (s v_k \cdot u_{y_i})) \right), \quad P_{y}(k) = [y_k = y] / n_y

    The published form (FarSLIP, arXiv:2511.14901) repeats a text for every image that has it and
    uses cross-entropy: even a perfect model pays the logarithm of a category's count in the batch,
    so that frequent categories weigh more. Here neither is so: the divergence is 0 at best.

    Args:
        images: ``(K, E)``, L2-normalised.
        texts: ``(n, E)``, L2-normalised, all different.
        labels: ``(K,)`` int64, the row of ``texts`` that is right for each image.
        scale: ``s``.
        balance: every text weighs the same, however many images of the batch have it.

    Returns:
        float32; 0 where there are no images.
    """
    with full_precision(images):
        if not len(images):
            return images.float().sum() + 0 * texts.float().sum() * scale
        logits = scale.float() * images.float() @ texts.float().T  # (K, n)
        counts = torch.bincount(labels, minlength=len(texts)).float()  # (n,)
        count_of = counts[labels]
        weight = 1 / count_of if balance else torch.ones_like(count_of)
        weight = weight / weight.sum()  # (K,)
        to_text = F.cross_entropy(logits, labels, reduction="none")
        own = logits.log_softmax(dim=0).gather(1, labels[:, None])[:, 0] + count_of.log()
        # Of each text: the mean over its images; then the mean over texts, weighted like images.
        to_image = -own * weight
        return (to_text * weight).sum() / 2 + to_image.sum() / 2


def pairwise_sigmoid_loss(
    images: Tensor, texts: Tensor, labels: Tensor, scale: Tensor, bias: Tensor
) -> Tensor:
    r"""SigLIP (arXiv:2303.15343): every pair of image and text is right or wrong by itself.

    .. math:: L = -\frac{1}{K} \sum_{ij} \log \sigma(z_{ij} (s v_i \cdot u_j + b))

    Args:
        images, texts, labels, scale: see `multi_positive_loss`.
        bias: ``b``.

    Returns:
        float32; 0 where there are no images.
    """
    with full_precision(images):
        if not len(images):
            return images.float().sum() + 0 * texts.float().sum() * scale * bias
        logits = scale.float() * images.float() @ texts.float().T + bias.float()
        sign = 2 * F.one_hot(labels, len(texts)).to(logits.dtype) - 1
        return -F.logsigmoid(sign * logits).sum() / len(images)


def gather_pairs(
    images: Tensor, texts: Tensor, keys: Sequence[str], text_keys: Sequence[str]
) -> tuple[Tensor, Tensor, Tensor]:
    """Images and different texts of all processes, and which belongs to which.

    Args:
        images: ``(B, E)``.
        texts: ``(m, E)``.
        keys: ``B`` strings, what each image is about.
        text_keys: ``m`` strings, what each text is about. Texts of equal key (two wordings of a
            category, a caption that another process has too) are averaged.

    Returns:
        ``(K, E)`` and ``(n, E)``, both L2-normalised float32, and labels ``(K,)`` int64.
    """
    device = images.device
    # In float16 the least norm to divide by would be 0.
    gathered = gather_rows_with_gradient(F.normalize(images.float(), dim=-1))
    wanted = gather_rows(hash_texts(keys).to(device))
    all_texts = gather_rows_with_gradient(F.normalize(texts.float(), dim=-1))
    present = gather_rows(hash_texts(text_keys).to(device))
    different, index = torch.unique(present, return_inverse=True)
    merged = all_texts.new_zeros((len(different), all_texts.shape[1]))
    merged = F.normalize(merged.index_add(0, index, all_texts), dim=-1)
    return gathered, merged, torch.searchsorted(different, wanted)


def hash_texts(texts: Sequence[str]) -> Tensor:
    """Texts as ``(N,)`` int64, the same on every machine, so that processes can compare them."""
    digests = (hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
    numbers = [int.from_bytes(digest, "big", signed=True) for digest in digests]
    return torch.tensor(numbers, dtype=torch.int64)
