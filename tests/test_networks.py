import torch
from torch import nn
from torch.distributions import Independent, Normal, kl_divergence

from lib.models.networks import VAE, Dense, codes, normal, perceptron, posterior


class Linear(VAE):
    """q(z | x) = N(2 x + 1, .25), p(x | z) = N(z / 2, 1), of images of one pixel."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def encode(self, x):
        return normal(self.weight * x.flatten(1) + 1, torch.full((len(x), 1), 0.5))

    def decode(self, z):
        return normal(z[..., None, None] / 2, 1.0, axes=3)


def test_the_training_loss_is_the_negative_evidence_lower_bound():
    model, x, noise = Linear(), torch.randn(6, 1, 1, 1), torch.randn(6, 1)
    q = Independent(Normal(2 * x.flatten(1) + 1, 0.5), 1)
    z = 2 * x.flatten(1) + 1 + 0.5 * noise
    divergence = kl_divergence(q, Independent(Normal(torch.zeros(6, 1), torch.ones(6, 1)), 1))
    torch.testing.assert_close(model(x, noise), divergence - Normal(z[:, 0] / 2, 1.0).log_prob(x.flatten()))


def test_codes_are_the_posterior_means_of_any_number_of_images():
    x = torch.randn(4100, 1, 1, 1)
    found = codes(Linear(), x)
    torch.testing.assert_close(found, 2 * x.flatten(1) + 1)
    assert not found.requires_grad


def test_the_generator_is_the_mean_of_the_likelihood():
    torch.testing.assert_close(Linear().generate(torch.ones(3, 1)), torch.full((3, 1, 1, 1), 0.5))


def test_an_encoders_output_is_means_then_logarithms_of_variances():
    q = posterior(torch.tensor([[1.0, 2.0, 0.0, torch.tensor(9.0).log()]]))
    torch.testing.assert_close(q.mean, torch.tensor([[1.0, 2.0]]))
    torch.testing.assert_close(q.variance, torch.tensor([[1.0, 9.0]]))
    assert q.event_shape == (2,)


def test_a_perceptron_has_its_activation_between_the_layers_alone():
    layers = perceptron(3, 4, 2, activation=nn.Tanh)
    assert [type(layer) for layer in layers] == [Dense, nn.Tanh, Dense]
    x = torch.randn(5, 3)
    first, last = layers[0], layers[2]
    expected = (x @ first.weight + first.bias).tanh() @ last.weight + last.bias
    torch.testing.assert_close(layers(x), expected)
    assert layers(x).shape == (5, 2)
