import pytest
import torch

from lib.measures import flows
from lib.models import flows as models
from lib.models.closure import ROOT, families, sources
from lib.models.data import Dataset
from lib.models.fit import fit
from lib.models.flows import Flow, VelocityNetwork, matching_loss

pytestmark = pytest.mark.usefixtures("single_precision")


def small_dataset(n=12, side=4):
    x = torch.rand(n, 1, side, side, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(n) % 3
    return Dataset("small", x, labels, x[:5], labels[:5], "digest")


SPEC = Flow(examples=6, steps=48, batch=8, width=16, blocks=1, halvings=2)


def weights(model):
    return torch.cat([value.flatten() for value in model.state_dict().values()])


def noise(count, dim):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(1))


def test_a_fit_is_the_same_again_and_another_seed_is_another(tmp_path):
    first, again = (fit([SPEC], small_dataset(), "cpu", folder=tmp_path / name)[0] for name in "ab")
    other = fit([Flow(**{**vars(SPEC), "seed": 1})], small_dataset(), "cpu", folder=tmp_path / "c")[0]
    assert torch.equal(weights(first.model), weights(again.model))
    assert not torch.equal(weights(first.model), weights(other.model))


def test_an_interrupted_fit_goes_on_as_if_it_had_not_been(tmp_path, interrupt):
    whole = fit([SPEC], small_dataset(), "cpu", folder=tmp_path / "whole")[0]
    seconds = interrupt(8, 30)
    with pytest.raises(KeyboardInterrupt):
        fit([SPEC], small_dataset(), "cpu", folder=tmp_path / "parts")
    interrupted = next(seconds)
    resumed = fit([SPEC], small_dataset(), "cpu", folder=tmp_path / "parts")[0]
    assert interrupted > 20
    assert [torch.equal(weights(a), weights(b)) for a, b in zip(
        whole.models.values(), resumed.models.values(), strict=True
    )] == [True] * 3  # fmt: skip
    assert torch.equal(whole.losses, resumed.losses)


def test_weights_are_kept_after_half_of_the_steps_and_so_on(tmp_path):
    fitted = fit([SPEC], small_dataset(), "cpu", folder=tmp_path)[0]
    assert list(fitted.models) == SPEC.marks() == [12, 24, 48]
    kept = [weights(model) for model in fitted.models.values()]
    assert not torch.equal(kept[0], kept[1])
    assert fitted.model is fitted.models[48]
    assert len(fitted.losses) == 2
    shorter = Flow(**{**vars(SPEC), "steps": 24, "halvings": 0})  # every moment is the end of a shorter fit
    assert torch.equal(weights(fit([shorter], small_dataset(), "cpu", folder=tmp_path)[0].model), kept[1])


def test_a_network_that_denoises_as_a_finite_set_does_has_its_velocity():
    data, y, t = noise(5, 9), noise(7, 9) + 1, 0.8
    network = VelocityNetwork(9, 4, 1, noise=0.3)
    v = models.variance(torch.tensor([[t]]), 0.3)
    weight = torch.softmax(-(y[:, None] - t * data).square().sum(2) / (2 * v), 1)
    network.denoise = lambda y, time: weight @ data
    torch.testing.assert_close(network(y, t), flows.blurred_velocity(data, 0.3)(y, t))


def test_the_loss_is_least_at_the_blurred_set_and_its_slope_there_is_nothing():
    data = 2 * torch.rand(4, 3, generator=torch.Generator().manual_seed(3)) - 1

    class Exact(VelocityNetwork):
        def denoise(self, y, t):
            squares = (y[:, None] - t[:, None] * data).square().sum(2)
            return torch.softmax(-squares / (2 * models.variance(t, self.noise)), 1) @ data + self.shift

    network, losses = Exact(3, 4, 1, 0.2), []
    for shift in (-0.05, 0.0, 0.05):
        network.shift = shift
        losses.append(float(matching_loss(network, data, 100_000, torch.Generator().manual_seed(0))))
    assert losses[1] < min(losses[0], losses[2])
    assert abs(losses[2] - losses[0]) < 0.2 * (losses[0] - losses[1])


def test_a_network_learns_two_points_by_heart():
    x = torch.tensor([[[[1.0, 0.0]]], [[[0.0, 1.0]]]])
    data = Dataset("two", x, torch.arange(2), x, torch.arange(2), "two")
    spec = Flow(0, steps=800, batch=64, width=32, blocks=1, halvings=0, noise=0.05, average=0.98)
    trained = spec.train(models.Seen(x, x), "cpu", _nowhere(), None)
    model = spec.restore(trained, torch.arange(2), (1, 1, 2), "cpu").model
    made = flows.sampler(model, 30)(noise(300, 2))
    distance = torch.cdist(made, VelocityNetwork.observe(data.train)).min(1).values
    assert distance.median() < 4 * 0.05
    assert (distance < 0.5).float().mean() > 0.95


def _nowhere():
    return ROOT / "_build" / "no-such-folder" / "never.checkpoint"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"noise": 0.0}, "noise must be positive, got 0.0"),
        ({"examples": 1}, "at least 2 images"),
        ({"halvings": 6}, "64 steps for 6 halvings"),
    ],
)
def test_what_cannot_be_fitted_is_refused(change, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        fit([Flow(**{**vars(SPEC), **change})], small_dataset(), "cpu", folder=tmp_path)


def test_the_network_follows_its_device():
    model = VelocityNetwork(9, 4, 1, 0.1).to("meta")
    assert model(torch.empty(3, 9, device="meta"), 0.5).device.type == "meta"


def test_no_other_family_depends_on_flows():
    here = ROOT / "lib" / "models" / "flows.py"
    own = {here, here.with_name("flow_unets.py")}
    others = [path for path in (ROOT / "lib" / "models").glob("*.py") if path not in own]
    assert [path.name for path in others if here in sources(path)] == []
    assert here in families()
