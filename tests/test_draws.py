import pytest
import torch
from torch import nn

from lib.models.draws import draw, rng_from, sample, seed_from, seeded


def test_seeds_belong_to_what_they_identify():
    identities = [(0, 1), (1, 0), (0, 1, 0, 1), (0, 2), (2, 0)]
    assert len({seed_from(*identity) for identity in identities}) == len(identities)
    assert seed_from(0, 1) == seed_from(0, 1)
    assert seed_from(0, 1) == seed_from(0, 1, 0)  # so the identities of a stream have one length


def test_a_source_of_random_numbers_is_seeded_by_its_identity():
    one, two, other = (torch.rand(3, generator=rng_from("cpu", *identity)) for identity in ((1, 2), (1, 2), (2, 1)))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(one, torch.rand(3, generator=torch.Generator().manual_seed(seed_from(1, 2))))


def test_seeded_networks_do_not_touch_the_global_state_and_do_not_depend_on_it():
    state = torch.random.get_rng_state()
    one = seeded(lambda: nn.Linear(2, 2), 3)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(5)
    two = seeded(lambda: nn.Linear(2, 2), 3)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_a_sample_is_drawn_from_what_there_is():
    drawn = sample(30, 10, 3, name="small")
    assert torch.equal(drawn, draw(30, 10, 3))
    assert len(drawn.unique()) == 10
    assert set(drawn.tolist()) < set(sample(30, 20, 3, name="small").tolist())
    assert not torch.equal(drawn, sample(30, 10, 4, name="small"))
    assert torch.equal(sample(30, 0, 3, name="small"), torch.arange(30))
    for count in (-1, 31):
        with pytest.raises(ValueError, match=rf"images must be in 0\.\.30 \(0: all\) for small, got {count}"):
            sample(30, count, 0, name="small", what="images")
