import pytest
import torch

from lib.models.autoencoders import BernoulliVAE, GaussianVAE
from lib.models.draws import seeded
from lib.models.ensemble import advance, assemble, evaluate

pytestmark = pytest.mark.usefixtures("single_precision")


def test_an_ensemble_trains_its_members_as_if_each_were_alone():
    models = [seeded(lambda: BernoulliVAE((1, 8, 8), 3, 6), seed) for seed in range(3)]
    x, noise = torch.rand(3, 5, 1, 8, 8).round(), torch.randn(3, 5, 3)
    together = assemble(models)
    optimizer = torch.optim.Adam(together.weights.values(), lr=1e-2)
    for _ in range(4):
        losses = advance(together, optimizer, x, noise)
    for index, model in enumerate(models):
        alone = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(4):
            loss = model(x[index], noise[index]).mean()
            alone.zero_grad()
            loss.backward()
            alone.step()
        torch.testing.assert_close(losses[index], loss.detach())
        for name, value in model.named_parameters():
            torch.testing.assert_close(together.weights[name][index], value, atol=1e-5, rtol=1e-4)


def test_batch_normalisation_keeps_the_statistics_of_each_member():
    models = [seeded(lambda: GaussianVAE((3, 32, 32), 2, 2, shared=False), seed) for seed in range(2)]
    x, noise = torch.randn(2, 6, 3, 32, 32), torch.randn(2, 6, 2)
    together = assemble(models)
    optimizer = torch.optim.Adam(together.weights.values(), lr=1e-3)
    losses = advance(together, optimizer, x, noise)
    for index, model in enumerate(models):
        torch.testing.assert_close(losses[index], model(x[index], noise[index]).mean().detach())
        for name, value in model.named_buffers():
            torch.testing.assert_close(together.buffers[name][index], value, atol=1e-5, rtol=1e-4)


def test_the_loss_of_the_same_images_is_that_of_every_member_in_evaluation_mode():
    models = [seeded(lambda: GaussianVAE((3, 32, 32), 2, 2, shared=True), seed) for seed in range(2)]
    together, x, noise = assemble(models), torch.randn(1030, 3, 32, 32), torch.randn(1030, 2)
    together.skeleton.train()
    losses = evaluate(together, x, noise)
    with torch.no_grad():
        expected = torch.stack([model.eval()(x, noise).mean() for model in models])
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=0)


def test_stacking_leaves_the_models_alone():
    model = BernoulliVAE((1, 8, 8), 3, 6)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    together = assemble([model])
    advance(together, torch.optim.Adam(together.weights.values()), torch.ones(1, 2, 1, 8, 8), torch.zeros(1, 2, 3))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert set(together.state) == set(before)
