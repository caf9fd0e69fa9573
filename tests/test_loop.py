import pytest
import torch

from lib.models import loop


class Walk:
    """A random walk downhill: its noise comes from a source that goes on from step to step."""

    def __init__(self, folder, steps=30):
        self.x = torch.nn.Parameter(torch.ones(2))
        self.rng, self.optimizer = torch.Generator().manual_seed(0), torch.optim.Adam([self.x], fused=True)
        self.steps, self.folder, self.done = steps, folder, []

    def step(self, number):
        self.done.append(number)
        loss = ((self.x + torch.randn(2, generator=self.rng)) ** 2).sum()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return torch.stack([loss, torch.tensor(float(number))])

    def run(self, **options):
        options = {"rngs": [self.rng], "label": "walk", **options}
        state = {"x": self.x}
        path = self.folder / "walk.checkpoint"
        return loop.run(state, {"adam": self.optimizer}, self.step, self.steps, checkpoint=path, **options)


def test_losses_are_means_of_the_steps_of_a_record(tmp_path):
    losses = Walk(tmp_path).run()
    assert losses.shape == (2, 2)  # 25 steps, and the five that are left
    torch.testing.assert_close(losses[:, 1], torch.tensor([12.0, 27.0]))
    torch.testing.assert_close(Walk(tmp_path).run(log_every=1)[:, 1], torch.arange(30.0))


def test_a_resumed_run_has_the_numbers_that_it_would_have_had(tmp_path, interrupt):
    whole = Walk(tmp_path / "whole")
    expected = whole.run(log_every=4)
    interrupt(every=5, at=13)
    cut = Walk(tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        cut.run(log_every=4)
    interrupt(every=100, at=1000)
    resumed = Walk(tmp_path / "cut")
    losses = resumed.run(log_every=4)
    assert resumed.done == list(range(10, 30))
    assert torch.equal(losses, expected)
    assert torch.equal(resumed.x, whole.x)


def test_without_the_source_of_random_numbers_it_would_not(tmp_path, interrupt):
    whole = Walk(tmp_path / "whole")
    whole.run()
    interrupt(every=5, at=13)
    with pytest.raises(KeyboardInterrupt):
        Walk(tmp_path / "cut").run(rngs=[])
    interrupt(every=100, at=1000)
    resumed = Walk(tmp_path / "cut")
    resumed.run(rngs=[])
    assert not torch.equal(resumed.x, whole.x)


def test_a_run_that_was_interrupted_after_its_last_step_is_done(tmp_path, interrupt):
    interrupt(every=1, at=1000)
    expected = Walk(tmp_path).run()
    again = Walk(tmp_path)
    assert torch.equal(again.run(), expected)
    assert again.done == []


def test_short_runs_write_no_checkpoint(tmp_path):
    Walk(tmp_path).run()
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_not_finite_is_an_error_with_its_step(tmp_path):
    walk = Walk(tmp_path)
    walk.x.data[0] = float("nan")
    with pytest.raises(FloatingPointError, match="the loss of the model of walk is not finite by step 24; try a lower"):
        walk.run()


def test_the_rate_goes_up_for_a_tenth_of_the_steps_and_down_to_zero():
    rates = torch.tensor([loop.rate(2.0, step, 1000) for step in range(1000)])
    assert rates.argmax() == 99
    assert rates.max() == pytest.approx(2, rel=0.03)
    assert rates[-1] == 0
    assert (rates[:99].diff() > 0).all()
    assert (rates[100:].diff() < 0).all()
    assert rates[549] == pytest.approx(1 + torch.tensor(0.55 * torch.pi).cos().item())  # half a cosine
