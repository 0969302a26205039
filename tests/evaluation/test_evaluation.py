from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from cmid.data import MILLION_AID, SceneSource
from cmid.evaluation import (
    effective_rank,
    extract_features,
    knn_accuracy,
    knn_scores,
    relative_std,
)
from cmid.views import Standardize


def clusters(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    centres = torch.randn(6, 12, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 6, (count,), generator=generator)
    return centres[labels] + 1.2 * torch.randn(count, 12, generator=generator), labels


@pytest.mark.parametrize("k", [1, 5, 20])
def test_knn_equals_scikit_learn_with_the_same_weights(k: int) -> None:
    (bank, bank_labels), (queries, labels) = clusters(300, 1), clusters(200, 2)
    bank_n, queries_n = (nn.functional.normalize(x, dim=1).numpy() for x in (bank, queries))
    reference = KNeighborsClassifier(
        k, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.07)
    ).fit(bank_n, bank_labels.numpy())
    scores = knn_scores(bank, bank_labels, queries, k=k, temperature=0.07, chunk=17)
    predicted = scores.argmax(dim=1)
    assert predicted.tolist() == reference.predict(queries_n).tolist()
    accuracy = knn_accuracy(bank, bank_labels, queries, labels, k=k)
    assert accuracy == pytest.approx(reference.score(queries_n, labels.numpy()))
    assert 0.4 < accuracy < 1


def test_fewer_images_than_neighbours_vote_together() -> None:
    bank, labels = clusters(3, 1)
    assert len(knn_scores(bank, labels, bank, k=20)) == 3


def test_empty_bank_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        knn_scores(torch.empty(0, 4), torch.empty(0, dtype=torch.long), torch.randn(2, 4))


def test_effective_rank_counts_directions() -> None:
    basis = torch.linalg.qr(torch.randn(64, 8)).Q
    assert effective_rank(torch.randn(5000, 8) @ basis.T) == pytest.approx(8, rel=0.01)
    assert effective_rank(torch.randn(500, 1) @ torch.randn(1, 64)) == pytest.approx(1, abs=0.01)
    assert effective_rank(torch.ones(50, 64)) == 0


def test_relative_std_is_one_on_the_sphere_and_zero_at_a_point() -> None:
    assert relative_std(torch.randn(5000, 64)) == pytest.approx(1, abs=0.02)
    assert relative_std(torch.randn(1, 64).expand(50, -1)) == pytest.approx(0, abs=1e-6)


def test_features_of_all_images_in_order_and_in_evaluation_mode() -> None:
    source = SceneSource(11, size=32)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    model[2].eval()
    statistics_before = model[1].running_mean.clone()
    arguments = {"standardize": Standardize(MILLION_AID), "size": 32}
    features, labels = extract_features(model, source, batch_size=4, **arguments)
    assert features.shape == (11, 4)
    assert labels.tolist() == [source.read(i).label for i in range(11)]
    assert torch.equal(model[1].running_mean, statistics_before)
    assert [m.training for m in model] == [True, True, False, True, True]
    alone, _ = extract_features(model, source, batch_size=1, num_workers=1, **arguments)
    torch.testing.assert_close(alone, features)
    part, _ = extract_features(model, source, rank=1, world_size=3, **arguments)
    torch.testing.assert_close(part, features[1::3])
