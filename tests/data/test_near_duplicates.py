"""Groups of near-duplicates are those of the graph of all pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from cmid.data import near_duplicates as module
from cmid.data.near_duplicates import DuplicateGroups, near_duplicates, similar_pairs


def families(count: int, members: int, *, noise: float) -> Tensor:
    """Rows around directions of their own, the families one after the other in turn."""
    centres = torch.nn.functional.normalize(torch.randn(count, 64), dim=1)
    rows = centres.repeat(members, 1)
    return (rows + noise / 8 * torch.randn(rows.shape)) * torch.rand(len(rows), 1).add(0.1)


def brute_force(rows: Tensor, threshold: float) -> tuple[int, np.ndarray]:
    unit = torch.nn.functional.normalize(rows, dim=1)
    return connected_components((unit @ unit.T > threshold).numpy(), directed=False)


def assert_same_groups(found: DuplicateGroups, labels: np.ndarray) -> None:
    assert len({*zip(found.labels.tolist(), labels.tolist(), strict=True)}) == len(found.kept)
    assert len(found.kept) == len(set(labels.tolist()))


@pytest.mark.parametrize("tile", [7, 2048])
def test_groups_are_the_components_of_all_pairs(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TILE", tile)
    monkeypatch.setattr(module, "_PENDING", 20 if tile < 10 else 1000)
    rows = torch.cat([families(20, 3, noise=0.4), torch.randn(40, 64)])
    for threshold in (0.3, 0.65, 0.9):
        found = near_duplicates(rows, threshold)
        assert_same_groups(found, brute_force(rows, threshold)[1])
        assert found.labels[found.kept].tolist() == list(range(len(found.kept)))
        assert found.sizes.sum() == len(rows)
        _, first = np.unique(found.labels, return_index=True)
        assert (np.diff(first) > 0).all()


def test_a_chain_joins_what_is_not_alike_and_the_middle_stands_for_it() -> None:
    angles = torch.tensor([0.0, 0.7, 1.4, 3.0])  # cos 0.7 = 0.76
    rows = torch.stack([angles.cos(), angles.sin()], dim=1)
    found = near_duplicates(rows)
    assert found.labels.tolist() == [0, 0, 0, 1]
    assert found.kept.tolist() == [1, 3]
    assert found.sizes.tolist() == [3, 1]
    assert near_duplicates(rows, keep="first").kept.tolist() == [0, 3]


def test_two_embeddings_have_to_be_similar_at_once() -> None:
    image = torch.tensor([[1.0, 0], [1, 0], [1, 0], [0, 1]])
    question = torch.tensor([[1.0, 0], [0, 1], [2, 0], [1, 0]])
    assert near_duplicates([image, question]).labels.tolist() == [0, 1, 0, 2]
    with pytest.raises(ValueError, match=r"\[4, 3\] rows"):
        near_duplicates([image, question[:3]])


def test_pairs_of_two_sets_are_those_of_all_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TILE", 16)
    first, second = torch.randn(50, 8), torch.randn(30, 8)
    unit = [torch.nn.functional.normalize(rows, dim=1) for rows in (first, second)]
    expected = (unit[0] @ unit[1].T > 0.5).nonzero()
    parts = [*similar_pairs(first, second, threshold=0.5)]
    rows, columns, cosine = (np.concatenate(part) for part in zip(*parts, strict=True))
    assert {*zip(rows, columns, strict=True)} == {*map(tuple, expected.tolist())}
    torch.testing.assert_close(
        torch.from_numpy(cosine), (unit[0] @ unit[1].T)[rows, columns], atol=1e-6, rtol=0
    )


def test_faiss_finds_the_same_groups_where_they_are_tight() -> None:
    pytest.importorskip("faiss", reason="extra scoring is not installed")
    rows = families(500, 4, noise=0.3)
    found = near_duplicates(rows, 0.8, search="faiss")
    assert_same_groups(found, near_duplicates(rows, 0.8).labels)
    assert len(found.kept) == 500


def test_rows_without_a_direction_and_senseless_thresholds_are_refused() -> None:
    rows = torch.ones(3, 4)
    rows[1] = 0
    with pytest.raises(ValueError, match="embedding 1 is zero or not finite"):
        near_duplicates(rows)
    rows[1] = torch.nan
    with pytest.raises(ValueError, match="embedding 1 is zero or not finite"):
        near_duplicates(rows)
    with pytest.raises(ValueError, match="give one between -1 and 1"):
        near_duplicates(torch.ones(3, 4), 1.5)
    assert near_duplicates(torch.ones(0, 4)).kept.tolist() == []
