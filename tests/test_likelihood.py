import math
import resource

import pytest
import torch
from conftest import counted, defaults
from torch.distributions import Bernoulli, Independent, Laplace, MultivariateNormal, Normal

from lib.measures import likelihood
from lib.measures.likelihood import log_evidence, log_evidence_quadrature


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def linear_gaussian(pixels=5, latent=2, noise=0.3, shift=0.0, wide=1.0):
    """x = W z + noise: log p(x) and the posterior in closed form. ``shift`` and ``wide`` spoil the encoder."""
    w = torch.randn(pixels, latent, generator=seeded())
    marginal = MultivariateNormal(torch.zeros(pixels), w @ w.T + noise**2 * torch.eye(pixels))
    covariance = torch.linalg.inv(torch.eye(latent) + w.T @ w / noise**2)

    def encode(x):
        return MultivariateNormal(x @ w @ covariance / noise**2 + shift, wide * covariance)

    def decode(z):
        return Independent(Normal(z @ w.T, noise), 1)

    return encode, decode, marginal


def test_exact_with_the_true_posterior_whatever_the_number_of_samples():
    encode, decode, marginal = linear_gaussian()
    x = marginal.sample((20,))
    for n in (1, 7):
        found = log_evidence(encode, decode, x, n, generator=seeded())
        torch.testing.assert_close(found.log_p, marginal.log_prob(x))
        torch.testing.assert_close(found.ess, torch.full((20,), float(n)))


def test_converges_to_the_closed_form_with_another_encoder():
    encode, decode, marginal = linear_gaussian(wide=2.0)
    x = marginal.sample((50,))
    errors = [
        (log_evidence(encode, decode, x, n, generator=seeded()).log_p - marginal.log_prob(x)).square().mean().sqrt()
        for n in (20, 2000)
    ]
    assert errors[1] < 0.05
    assert 5 < errors[0] / errors[1] < 20  # one over the root of the samples: tenfold


def test_the_evidence_is_unbiased_before_the_logarithm_and_low_after():
    encode, decode, marginal = linear_gaussian(shift=0.1)
    x = marginal.sample((1,)).expand(20000, -1)
    ratio = log_evidence(encode, decode, x, 3, generator=seeded()).log_p - marginal.log_prob(x)
    assert abs(ratio.exp().mean() - 1) < 4 * ratio.exp().std() / len(x) ** 0.5
    assert ratio.mean() < 0


def test_one_dominant_sample_has_an_effective_sample_size_of_one():
    encode, decode, marginal = linear_gaussian(shift=8.0)
    ess = log_evidence(encode, decode, marginal.sample((30,)), 50, generator=seeded()).ess
    assert ess.median() < 1.5
    assert ess.min() >= 1 - 1e-9


def test_blocks_of_images_and_of_samples_do_not_matter(monkeypatch):
    encode, decode, marginal = linear_gaussian()
    x = marginal.sample((37,))
    whole = log_evidence(encode, decode, x, 9)
    for rows in (1, 10, 50):
        monkeypatch.setattr(likelihood, "ROWS", rows)
        parts = log_evidence(encode, decode, x, 9)  # zero variance, so other samples give the same
        torch.testing.assert_close(parts.log_p, whole.log_p)
        torch.testing.assert_close(parts.ess, whole.ess)


def test_the_last_block_of_samples_is_as_small_as_it_must_be(monkeypatch):
    encode, decode, marginal = linear_gaussian()
    monkeypatch.setattr(likelihood, "ROWS", 10)
    counting, counts = counted(decode)
    found = log_evidence(encode, counting, marginal.sample((2,)), 9)
    assert counts == [10, 8]
    torch.testing.assert_close(found.ess, torch.full((2,), 9.0))


@pytest.mark.parametrize(
    ("images", "n", "passes"), [(1025, 1, [1024, 1]), (700, 2, [700, 700]), (3, 700, [1023, 1023, 54])]
)
def test_a_pass_decodes_at_most_1024_latents(images, n, passes):
    encode, decode, marginal = linear_gaussian()
    counting, counts = counted(decode)
    log_evidence(encode, counting, marginal.sample((images,)), n)
    assert counts == passes


def test_samples_are_the_mean_and_the_generators_noise_in_the_shape_of_the_covariance():
    root = torch.tensor([[2.0, 0.0], [-1.0, 0.5]])
    mean = torch.randn(3, 2)
    noise = torch.randn(4, 3, 2, generator=seeded())
    correlated = likelihood._draw(MultivariateNormal(mean, scale_tril=root), 4, seeded())
    torch.testing.assert_close(correlated, mean + noise @ root.T)
    diagonal = Normal(mean, torch.tensor([2.0, 0.5]))
    for q in (diagonal, Independent(diagonal, 1)):
        torch.testing.assert_close(likelihood._draw(q, 4, seeded()), mean + noise * torch.tensor([2.0, 0.5]))


def test_the_generator_decides():
    encode, decode, marginal = linear_gaussian(wide=2.0)
    diagonal = lambda x: Independent(Normal(encode(x).mean, 0.5), 1)  # noqa: E731
    x = marginal.sample((4,))
    for q in (encode, diagonal):
        one, two, three = (log_evidence(q, decode, x, 5, generator=seeded(s)).log_p for s in (1, 1, 2))
        assert torch.equal(one, two)
        assert not torch.equal(one, three)


def test_images_keep_their_shape():
    def decode(z):
        return Independent(Bernoulli(logits=z.sum(1)[:, None, None, None].expand(-1, 1, 3, 3)), 3)

    def encode(x):
        return Independent(Normal(torch.zeros(len(x), 2), 1.0), 1)

    found = log_evidence(encode, decode, torch.ones(4, 1, 3, 3), 200_000, generator=seeded()).log_p
    # p(x) = E sigmoid(s)^9 for s ~ N(0, 2), by quadrature
    s = torch.linspace(-12, 12, 20001)
    exact = torch.trapezoid(torch.sigmoid(s) ** 9 * (-s.square() / 4).exp() / math.sqrt(4 * math.pi), s).log()
    torch.testing.assert_close(found, exact.expand(4), atol=0.02, rtol=0)


def test_memory_does_not_grow_with_the_samples():
    encode, decode, marginal = linear_gaussian(pixels=1000)
    x = marginal.sample((20,))
    log_evidence(encode, decode, x, 100)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    log_evidence(encode, decode, x, 3000)  # all at once: 20 x 3,000 x 1,000 numbers, 0.5 GB
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_it_runs_on_tensors_without_data():
    w = torch.zeros(5, 2, device="meta")
    x = torch.zeros(3, 5, device="meta")
    block = likelihood._block(
        lambda x: Independent(Normal(x @ w, 1.0, validate_args=False), 1),
        lambda z: Independent(Normal(z @ w.T, 1.0, validate_args=False), 1, validate_args=False),
        x, 4, None,
    )  # fmt: skip
    assert [part.device.type for part in block] == ["meta", "meta"]


def test_bad_input_is_refused():
    encode, decode, marginal = linear_gaussian()
    x = marginal.sample((3,))
    with pytest.raises(ValueError, match="at least 1 sample, got 0"):
        log_evidence(encode, decode, x, 0)
    with pytest.raises(ValueError, match="encode must give one distribution per image"):
        log_evidence(lambda x: Normal(torch.zeros(len(x), 2), 1.0), decode, x, 2)
    with pytest.raises(ValueError, match=r"one log probability per image, got \[6, 5\] for 6 latents"):
        log_evidence(encode, lambda z: Normal(torch.zeros(len(z), 5), 1.0), x, 2)
    with pytest.raises(TypeError, match="Normal or MultivariateNormal encoder, got Laplace"):
        log_evidence(lambda x: Independent(Laplace(torch.zeros(len(x), 2), 1.0), 1), decode, x, 2, generator=seeded())


def test_an_estimate_that_is_not_finite_is_refused_and_counted():
    def encode(x):
        return Independent(Normal(torch.zeros(len(x), 2), 1.0), 1)

    def decode(z):
        return Independent(Normal(torch.zeros(len(z), 5), 1.0, validate_args=False), 1)

    x = torch.zeros(3, 5)
    x[0], x[1, 2] = torch.inf, torch.nan
    with pytest.raises(FloatingPointError, match="NaN or infinite for 2 of 3 images"):
        log_evidence(encode, decode, x, 2)


def test_quadrature_gives_the_closed_form_and_what_the_exact_posterior_gives():
    encode, decode, marginal = linear_gaussian()
    x = marginal.sample((70,))
    found = log_evidence_quadrature(decode, x)
    torch.testing.assert_close(found.log_p, marginal.log_prob(x), atol=4e-3, rtol=0)
    torch.testing.assert_close(found.log_p, log_evidence(encode, decode, x, 3).log_p, atol=4e-3, rtol=0)
    assert (found.change < 1e-3).all()


def test_quadrature_that_refines_more_cells_comes_nearer(monkeypatch):
    _, decode, marginal = linear_gaussian()
    x = marginal.sample((10,))
    errors = []
    for refined in (128, 512, 2**20):
        monkeypatch.setattr(likelihood, "REFINED", refined)
        found = log_evidence_quadrature(decode, x, side=48, refinements=2, reach=6.0)
        errors.append((found.log_p - marginal.log_prob(x)).abs().max())
    assert errors[1] < errors[0] / 2
    assert errors[2] < 1e-8  # the midpoint rule, on a grid of equal cells, is nearly exact for a normal


def test_refinement_finds_a_posterior_narrower_than_a_cell():
    _, decode, marginal = linear_gaussian(noise=0.05)
    x = marginal.sample((40,))
    errors = []
    for refinements in (1, 2, 4):
        found = log_evidence_quadrature(decode, x, side=48, refinements=refinements)
        errors.append((found.log_p - marginal.log_prob(x)).abs().max())
    assert errors[0] > 0.05
    assert errors[2] < 1e-3
    # Both the coarse value and the refined one are known, so the change is their difference.
    once, twice = (log_evidence_quadrature(decode, x, side=48, refinements=n) for n in (1, 2))
    torch.testing.assert_close(twice.change, (twice.log_p - once.log_p).abs())


def test_quadrature_decodes_the_grid_once_for_64_images_and_refines_128_cells_of_each():
    counting, counts = counted(lambda z: Independent(Normal(z, 0.5), 1))
    log_evidence_quadrature(counting, torch.randn(65, 2))
    grid = [128] * 32
    assert counts == grid + [1024] * 32 * 4 + grid + [512] * 4


def test_defaults():
    assert defaults(log_evidence) == {"generator": None}
    assert defaults(log_evidence_quadrature) == {"reach": 4.5, "side": 64, "refinements": 4}


def test_an_image_alone_has_the_same_quadrature():
    _, decode, marginal = linear_gaussian()
    x = marginal.sample((3,))
    whole = log_evidence_quadrature(decode, x)
    for row in range(3):
        alone = log_evidence_quadrature(decode, x[row : row + 1])
        torch.testing.assert_close(alone.log_p[0], whole.log_p[row])


def test_what_lies_beyond_the_square_is_not_counted():
    _, decode, marginal = linear_gaussian()
    x = marginal.sample((10,))
    narrow = log_evidence_quadrature(decode, x, reach=0.5).log_p
    assert (narrow < marginal.log_prob(x) + 1e-3).all()
    assert (narrow < marginal.log_prob(x) - 1).any()


def test_quadrature_without_refinement_is_refused():
    _, decode, marginal = linear_gaussian()
    with pytest.raises(ValueError, match="refinements must be at least 1, got 0"):
        log_evidence_quadrature(decode, marginal.sample((2,)), refinements=0)
