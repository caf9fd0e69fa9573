"""Detours of shortest paths, where they can be told beforehand."""

import pytest
import torch
from conftest import affine

from lib.measures.curves import straight
from lib.protocols import detours


def bump(z):
    """A hill at the origin, over which the straight line goes."""
    return torch.cat([z, 3 * (-z.square().sum(1, keepdim=True)).exp()], 1)


def test_in_a_flat_space_there_are_none():
    decoder, _ = affine(20, 2)
    z = torch.randn(12, 2)
    found = detours.detours(decoder, z, torch.arange(12).view(2, 6))
    assert found.ratio == pytest.approx(torch.ones(6))
    assert found.farther.abs().max() < 1e-6


def test_around_a_hill_the_path_is_shorter_and_farther_from_codes_on_the_line():
    z = torch.stack([torch.linspace(-2, 2, 33), torch.full((33,), 0.05)], 1)
    found = detours.detours(bump, z, torch.tensor([[0], [32]]))
    assert 0.5 < float(found.ratio) < 0.8
    assert float(found.farther) == pytest.approx(float((found.z[0, :, 1] - 0.05).max()), rel=0.02)
    assert float(found.farther) > 0.5


def test_a_path_that_did_not_converge_has_no_value(monkeypatch):
    solve = detours.shortest_path
    monkeypatch.setattr(
        detours, "shortest_path", lambda *given: solve(*given)._replace(converged=torch.tensor([False]))
    )
    found = detours.detours(bump, torch.tensor([[-2.0, 0.1], [2.0, 0.1]]), torch.tensor([[0], [1]]))
    assert found.ratio.isnan().all()
    assert found.farther.isnan().all()


def test_the_farthest_place_is_that_of_the_nearest_code():
    z = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
    curves = straight(z[:1], z[1:], 11)
    assert float(detours.farthest(curves, z)) == 5.0
    assert float(detours.farthest(curves + torch.tensor([0.0, 12.0]), z)) == 13.0


def test_rounding_is_relative_in_lengths_and_in_the_measure():
    curves = straight(torch.zeros(1, 2), torch.ones(1, 2), 5)
    found = detours.rounding(lambda z: 2 * z, lambda z: 2.002 * z, curves)
    assert found == pytest.approx(torch.tensor([1e-3, 1.001**2 - 1]))
