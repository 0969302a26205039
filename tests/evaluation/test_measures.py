from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score, normalized_mutual_info_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import NearestNeighbors

from cmid.evaluation import (
    MeasureConfig,
    clustering_nmi,
    evaluate,
    few_shot_accuracy,
    fit_linear,
    knn_scores,
    linear_probe,
    multilabel_scores,
    read_multilabels,
    retrieval_scores,
)
from cmid.evaluation.linear import one_hot

ALL = ("knn", "linear", "fewshot", "retrieval", "clustering")


def clusters(count: int, seed: int, noise: float = 1.2) -> tuple[torch.Tensor, torch.Tensor]:
    centres = torch.randn(6, 12, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 6
    return centres[labels] + noise * torch.randn(count, 12, generator=generator), labels


def tagged(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    directions = torch.randn(4, 12, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(count, 4, generator=generator) < 0.4).long()
    noise = torch.randn(count, 12, generator=generator)
    return labels.float() @ directions + 0.7 * noise, labels


@pytest.mark.parametrize("l2", [1e-4, 1e-2, 1.0])
def test_logistic_regression_has_the_minimum_of_scikit_learn(l2: float) -> None:
    features, labels = clusters(300, 1)
    features = features.double()
    ours = fit_linear(features, one_hot(labels), l2=l2, max_iter=2000)
    exact = {"tol": 1e-12, "max_iter": 1000, "solver": "newton-cg"}
    reference = LogisticRegression(C=1 / (l2 * len(labels)), **exact)
    reference.fit(features.numpy(), labels.numpy())
    # A gradient of 1e-9 is left, which a weak regularisation makes a distance of weights.
    limit = max(1e-6, 1e-9 / l2)
    np.testing.assert_allclose(ours.weight.numpy(), reference.coef_, atol=limit)
    expected = reference.predict_proba(features.numpy())
    np.testing.assert_allclose(ours(features).softmax(1).numpy(), expected, atol=1e-6)


def test_multilabel_regression_has_the_minimum_of_scikit_learn() -> None:
    features, labels = tagged(300, 1)
    features = features.double()
    ours = fit_linear(features, labels, l2=0.01, multilabel=True)
    exact = {"tol": 1e-12, "max_iter": 1000, "solver": "newton-cg"}
    reference = OneVsRestClassifier(LogisticRegression(C=100 / len(labels), **exact))
    reference.fit(features.numpy(), labels.numpy())
    expected = reference.predict_proba(features.numpy())
    np.testing.assert_allclose(ours(features).sigmoid().numpy(), expected, atol=1e-6)


def test_linear_probe_chooses_a_strength_that_generalises() -> None:
    train, test = clusters(240, 1), clusters(600, 2)
    logits, strength = linear_probe(train, test[0])
    accuracy = float((logits.argmax(1) == test[1]).float().mean())
    each = {}
    for l2 in (1e-6, 10.0):
        scores, _ = linear_probe(train, test[0], strengths=[l2])
        each[l2] = float((scores.argmax(1) == test[1]).float().mean())
    assert 1e-6 <= strength <= 10
    assert accuracy >= max(each.values()) - 0.02
    assert accuracy > 0.75


def test_few_shots_improve_with_their_number_and_repeat() -> None:
    train, test = clusters(300, 1), clusters(300, 2)
    one, five = (few_shot_accuracy(train, test, shots=n, seeds=5) for n in (1, 5))
    assert 1 / 6 < one[0] < five[0] < 1
    assert one[1] > 0
    assert few_shot_accuracy(train, test, shots=5, seeds=5) == five
    with pytest.raises(ValueError, match="51 shots need 51 images"):
        few_shot_accuracy(train, test, shots=51)


def test_retrieval_equals_scikit_learn() -> None:
    gallery, queries = clusters(120, 1), clusters(70, 2)
    scores = retrieval_scores(gallery, queries, ks=(1, 5), chunk=16)
    neighbours = NearestNeighbors(n_neighbors=120, metric="cosine").fit(gallery[0].numpy())
    distance, order = neighbours.kneighbors(queries[0].numpy())
    relevant = gallery[1].numpy()[order] == queries[1].numpy()[:, None]
    precision = [average_precision_score(r, -d) for r, d in zip(relevant, distance, strict=True)]
    assert scores["mAP"] == pytest.approx(np.mean(precision), abs=1e-6)
    for k in (1, 5):
        assert scores[f"recall@{k}"] == pytest.approx(relevant[:, :k].any(1).mean(), abs=1e-6)


def test_retrieval_counts_queries_without_a_match() -> None:
    gallery, queries = clusters(60, 1), clusters(30, 2)
    kept = gallery[1] != 3
    scores = retrieval_scores((gallery[0][kept], gallery[1][kept]), queries)
    assert scores["queries_without_match"] == int((queries[1] == 3).sum())
    with pytest.raises(ValueError, match="no query"):
        retrieval_scores(gallery, (queries[0], queries[1] + 10))


def test_nmi_of_separate_clusters_is_one_and_of_noise_is_low() -> None:
    features, labels = clusters(120, 1, noise=0.01)
    assert clustering_nmi(features, labels) == pytest.approx(1)
    assert clustering_nmi(torch.randn(120, 12), labels) < 0.3
    assert normalized_mutual_info_score(labels, labels) == 1


def test_knn_over_a_bank_in_parts_equals_the_whole() -> None:
    (bank, labels), (queries, _) = clusters(3000, 1), clusters(50, 2)
    whole = knn_scores(bank, labels, queries)
    parts = knn_scores(bank, labels, queries, chunk=7)  # 896 images of the bank at a time
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(whole.sum(1), torch.ones(50))


def test_multilabel_votes_and_scores_equal_scikit_learn() -> None:
    train, test = tagged(300, 1), tagged(200, 2)
    votes = knn_scores(*train, test[0])
    scores = multilabel_scores(votes, test[1])
    truth, predicted = test[1].numpy(), (votes > 0.5).numpy()
    assert scores["mAP"] == pytest.approx(average_precision_score(truth, votes.numpy()), abs=1e-6)
    for average in ("micro", "macro"):
        expected = f1_score(truth, predicted, average=average)
        assert scores[f"{average}_f1"] == pytest.approx(expected, abs=1e-6)


def test_all_measures_of_one_and_of_several_labels() -> None:
    scores = evaluate(clusters(120, 1), clusters(60, 2), ALL, MeasureConfig(shots=(1, 5), seeds=2))
    expected = {"knn", "linear", "linear l2", "1-shot", "5-shot", "recall@1", "mAP", "NMI"}
    assert expected <= scores.keys()
    several = evaluate(tagged(120, 1), tagged(60, 2), ("knn", "linear", "retrieval"))
    assert {"knn mAP", "linear micro_f1", "recall@5"} <= several.keys()
    with pytest.raises(ValueError, match="one label an image"):
        evaluate(tagged(120, 1), tagged(60, 2), ALL)


def test_bad_features_and_labels_are_refused() -> None:
    features, labels = clusters(60, 1)
    with pytest.raises(ValueError, match="one class"):
        linear_probe((features, labels * 0), features)
    with pytest.raises(ValueError, match="without one"):
        knn_scores(features, labels - 1, features)
    broken = features.clone()
    broken[3, 4] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        evaluate((broken, labels), (features, labels), ["knn"])
    with pytest.raises(ValueError, match="unknown task"):
        evaluate((features, labels), (features, labels), ["nearest"])


def test_multilabels_as_columns_and_as_lists(tmp_path: Path) -> None:
    columns, lists = tmp_path / "columns.csv", tmp_path / "lists.csv"
    columns.write_text("image,car,sea\nb,0,1\na,1,1\nunused,0,0\n")
    lists.write_text("image,labels\nb.png,sea\na.png,car;sea\n")
    for path in (columns, lists):
        labels, classes = read_multilabels(path, ["x/a.jpg", "x/b.jpg"])
        assert labels.tolist() == [[1, 1], [0, 1]]
        assert classes == ("car", "sea")
    with pytest.raises(ValueError, match=r"no labels for 1 images, first x/c\.jpg"):
        read_multilabels(columns, ["x/a.jpg", "x/c.jpg"])
    columns.write_text("image,car,sea\na,1,2\n")
    with pytest.raises(ValueError, match="'2' where 0 or 1"):
        read_multilabels(columns, ["a.jpg"])
