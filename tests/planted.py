"""Models of repeated K-fold cross-validation whose log p(x) is known, for the tests of protocols."""

import torch
from torch.distributions import Independent, Normal

from lib.models.draws import seed_from
from lib.models.kfold import KFold
from lib.protocols.kfold import CrossValidation

PIXELS = (1, 2, 2)


class Linear:
    """x = W z + shift + noise of unit variance, z of two latents, with its exact posterior widened by a factor."""

    def __init__(self, weights, shift=0.0, wide=1.0):
        self.weights, self.shift, self.wide = weights, shift, wide
        self.precision = torch.eye(2) + weights.T @ weights

    def encode(self, x):
        mean = torch.linalg.solve(self.precision, self.weights.T @ (x.flatten(1) - self.shift).T).T
        scale = torch.linalg.cholesky(self.precision.inverse())
        return torch.distributions.MultivariateNormal(mean, scale_tril=self.wide * scale)

    def decode(self, z):
        return Independent(Normal(self.generate(z), 1.0), 3)

    def generate(self, z):
        return (z @ self.weights.T + self.shift).unflatten(1, PIXELS)

    def log_p(self, x):
        covariance = torch.eye(4) + self.weights @ self.weights.T
        return torch.distributions.MultivariateNormal(torch.full((4,), self.shift), covariance).log_prob(x.flatten(1))


def held_out(repeats, folds, n):
    """A random division of n images for each repeat."""
    rng = torch.Generator().manual_seed(seed_from(5))
    return torch.stack([torch.randperm(n, generator=rng) % folds for _ in range(repeats)])


def log_p(repeats, folds, n, gain=0.0, spread=0.0, seed=1):
    """Log p(x) that is higher by ``gain`` under the models with the image, and differs by ``spread`` between models."""
    rng = torch.Generator().manual_seed(seed)
    division = held_out(repeats, folds, n)
    inside = torch.arange(folds)[None, :, None] != division[:, None]
    return gain * inside + spread * torch.randn(repeats, folds, n, generator=rng) - 80, division


def models(build, repeats=2, folds=3, n=6):
    """Fits whose models are ``build(repeat, fold)``, asked about random images."""
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(n, *PIXELS, generator=rng)
    spec = KFold("bernoulli", images=n, folds=folds, latent=2, seed=3)
    numbers = torch.full((1, repeats, folds, n), -80.0)
    losses = torch.zeros(repeats, 1, 2)
    return CrossValidation(spec, x, x.round(), numbers, numbers.exp(), [1], held_out(repeats, folds, n), losses, build)
