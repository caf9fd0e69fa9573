"""A zoo of one affine generator, whose recovery errors are known."""

import torch
from torch.distributions import MultivariateNormal

from lib.models.data import Dataset, hold_out
from lib.models.generative import Generative, GeneratorFit
from lib.protocols.zoo import Zoo


def affine_zoo(count=20, strangers=0.1, encoder=None):
    """Images about 0.5 with noise, and two models of the row ``line``, equal but for what they were trained on.

    Returns the zoo and the generator's matrix ``[16, 3]``; ``strangers`` is the noise of the official test part.
    """
    rng = torch.Generator().manual_seed(1)
    matrix = 0.05 * torch.randn(16, 3, generator=rng)
    train = 0.5 + 0.1 * (torch.rand(80, 1, 4, 4, generator=rng) - 0.5)
    test = 0.5 + strangers * (torch.rand(40, 1, 4, 4, generator=rng) - 0.5)
    labels = torch.zeros(80, dtype=torch.long)
    official = Dataset("here/small", train, labels, test, labels[:40], "digest")
    codes = MultivariateNormal(torch.zeros(3), 0.5 * torch.eye(3))

    def generator(z):
        return (0.5 + z @ matrix.T).view(-1, 1, 4, 4)

    plan = {"line": Generative("glo", 30, 10, 4)}
    fits = [
        GeneratorFit(plan["line"], index, torch.zeros(1, 1), generator, encoder, codes)
        for index in torch.arange(60).split(30)
    ]
    return Zoo("small", official, hold_out(official, count, seed=0), plan, {"line": fits}, count, 0, "cpu"), matrix
