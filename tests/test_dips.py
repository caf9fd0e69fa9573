import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from conftest import affine, sphere

from lib.measures.density import log_prior
from lib.measures.paths import dip
from lib.models.convolutional import Convolutional, ConvVAEFit
from lib.protocols import dips
from lib.protocols.pair import Case, Pairs

MERIDIAN = torch.tensor([[0.2, 0.5]]), torch.tensor([[1.4, 0.5]])  # by polar angle; halfway is 0.8


def exact_prior(z0, z1):
    return (log_prior(z0) + log_prior(z1) - 2 * log_prior((z0 + z1) / 2))[0].item()


def squeezed(kappa):
    normal = torch.distributions.Normal(0.0, 1.0)
    return lambda z: torch.tanh(kappa * (normal.cdf(z) - 0.5)) / math.tanh(kappa / 2)


def test_the_dip_of_an_affine_map_is_the_priors_at_every_rank():
    decoder, _ = affine(6, 3)
    z0, z1 = torch.randn(2, 5, 3)
    paths = dips.measure(decoder, z0, z1, n=9)
    expected = -(z0 - z1).square().sum(1) / 4
    torch.testing.assert_close(dips.by_rank(paths), expected[:, None].expand(5, 3))
    parts = dips.parts(paths, 2)
    torch.testing.assert_close(parts.prior, expected)
    torch.testing.assert_close(parts.generator, torch.zeros(5))


def test_a_map_that_squeezes_has_a_dip_of_its_own_besides_the_priors():
    end = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor([[0.9]]))
    parts = dips.parts(dips.measure(squeezed(5.0), -end, end, n=129), 1)
    total = 4 * math.log(math.cosh(5 * 0.4))
    assert parts.total.item() == pytest.approx(total)
    assert parts.prior.item() == pytest.approx(-(end.item() ** 2))
    assert parts.generator.item() == pytest.approx(total + end.item() ** 2)


def test_the_dip_along_a_meridian_is_that_of_the_log_volume_at_full_rank():
    by_rank = dips.by_rank(dips.measure(sphere, *MERIDIAN, n=2049))[0]
    volume = math.log(math.sin(0.2)) + math.log(math.sin(1.4)) - 2 * math.log(math.sin(0.8))
    assert by_rank[0].item() == pytest.approx(exact_prior(*MERIDIAN), abs=1e-5)
    assert by_rank[1].item() == pytest.approx(exact_prior(*MERIDIAN) - volume, abs=1e-5)


@pytest.mark.parametrize("rank", [1, 2])
def test_three_spectra_give_what_dip_gives(rank):
    z0, z1 = torch.rand(2, 4, 2) + 0.3
    torch.testing.assert_close(
        dips.parts(dips.measure(sphere, z0, z1, n=17), rank).total, dip(sphere, z0, z1, rank=rank, n=17)
    )


def test_an_impossible_rank_is_named():
    paths = dips.measure(sphere, *MERIDIAN, n=3)
    for rank in (0, 3):
        with pytest.raises(ValueError, match=rf"rank must be in 1\.\.2 for these paths, got {rank}"):
            dips.parts(paths, rank)


def test_a_threshold_that_cuts_through_a_path_changes_its_unit():
    # The smaller singular value is sin(theta): 0.199, 0.717 and 0.985 at start, middle and end.
    paths = dips.measure(sphere, *MERIDIAN, n=2049)
    found = dips.by_threshold(paths, [0.1, 0.5, 0.99], relative=False)
    by_rank = dips.by_rank(paths)[0]
    cut = exact_prior(*MERIDIAN) - math.log(math.sin(1.4)) + 2 * math.log(math.sin(0.8))
    assert found.changing.tolist() == [0, 1, 0]
    np.testing.assert_allclose(found.mean, [by_rank[1].item(), cut, by_rank[0].item()], atol=1e-5)


def test_a_relative_threshold_does_not_depend_on_the_unit_of_the_output():
    large = dips.measure(lambda z: 10 * sphere(z), *MERIDIAN, n=2049)
    assert dips.by_threshold(large, [0.1, 0.5], relative=True).changing.tolist() == [0, 1]
    assert dips.by_threshold(large, [0.5], relative=False).changing.tolist() == [0]


def test_means_and_shares_are_over_paths():
    z0, z1 = (torch.cat([end, torch.tensor([[1.2, 0.5]])]) for end in MERIDIAN)
    z1[1, 0] = 1.6
    paths = dips.measure(sphere, z0, z1, n=2049)
    found = dips.by_threshold(paths, [0.1, 0.5], relative=False)
    assert found.changing.tolist() == [0, 0.5]
    assert found.mean[0] == pytest.approx(dips.by_rank(paths)[:, 1].mean().item())


def test_other_samples_move_the_midpoint_and_nothing_else():
    # Across the longitude the speed changes, so that the midpoint depends on how finely the path is sampled.
    z0, z1 = torch.tensor([[0.1, 0.0]]), torch.tensor([[1.0, 3.0]])
    coarse, fine = (dips.measure(sphere, z0, z1, n=n) for n in (3, 257))
    again = dips.with_samples(sphere, coarse, n=257)
    assert torch.equal(again.middle.z, fine.middle.z)
    assert torch.equal(again.middle.spectrum, fine.middle.spectrum)
    assert again.start is coarse.start
    assert again.end is coarse.end
    assert not torch.equal(coarse.middle.z, fine.middle.z)


def test_neighbours_of_codes_are_other_codes():
    pool = torch.tensor([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0]])
    found = dips.neighbours_in_latents(torch.tensor([[0.0, 0.0], [4.0, 0.0]]), pool)
    torch.testing.assert_close(found, pool[[1, 2]])


def test_the_ratio_of_sizes_ignores_signs():
    first, second = np.array([1.0, 3.0]), np.array([-4.0, -4.0, -1.0])
    assert dips.log_size_ratio(first, second) == pytest.approx(math.log(2 / 3))
    assert dips.log_size_ratio(second, first) == pytest.approx(math.log(3 / 2))


class Given(NamedTuple):
    """A stand-in for a network: all that is asked of it is its generator."""

    generate: Callable


def fitted(decoder):
    return ConvVAEFit(Convolutional(1), torch.tensor([0]), torch.zeros(1), Given(decoder))


def test_every_case_is_measured_in_its_own_model():
    fits = {"memorised": fitted(sphere), "well trained": fitted(affine(6, 3)[0])}
    pairs = Pairs(torch.tensor([0]), torch.tensor([1]))
    z0, z1 = torch.randn(2, 4, 3)
    cases = {"a": Case("memorised", pairs, *MERIDIAN), "b": Case("well trained", pairs, z0, z1)}
    found = dips.of_cases(fits, cases, n=2049)
    assert found["a"].middle.z[0, 0].item() == pytest.approx(0.8, abs=1e-6)
    torch.testing.assert_close(dips.parts(found["b"], 3).total, -(z0 - z1).square().sum(1) / 4)


def test_a_straight_image_is_a_crossfade_and_a_great_circle_is_not():
    decoder, _ = affine(6, 3)
    z0, z1 = torch.randn(2, 4, 3)
    torch.testing.assert_close(dips.crossfade(decoder, dips.measure(decoder, z0, z1, n=5)), torch.zeros(4))
    arc = dips.crossfade(sphere, dips.measure(sphere, *MERIDIAN, n=2049))
    assert arc.item() == pytest.approx((1 - math.cos(0.6)) / (2 * math.sin(0.6)), abs=1e-6)


def test_a_walk_over_a_plane_has_a_parabola_of_log_density():
    decoder, _ = affine(6, 3)
    z0, z1 = torch.randn(2, 1, 3)
    found = dips.walk(decoder, z0, z1, n=5, rank=2, shown=3)
    assert found.curve.s[0, -1].item() == pytest.approx((decoder(z1) - decoder(z0)).norm().item())
    assert (found.curve.log_p[0, 0] + found.curve.log_p[0, -1]).item() == pytest.approx(0)
    assert found.curve.log_p[0, 2].item() == pytest.approx((z1 - z0).square().sum().item() / 8)
    torch.testing.assert_close(found.images, decoder(torch.cat([z0, (z0 + z1) / 2, z1])))
