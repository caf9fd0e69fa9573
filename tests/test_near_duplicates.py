import torch

from lib.protocols import near_duplicates


def noise(count, seed=0):
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def with_copies():
    """Twelve random images; the fourth three times and the first twice, with other tones and a little noise."""
    x = noise(12)
    copies = torch.cat([0.5 * x[3:4] + 0.2, x[3:4] - 0.1, 0.8 * x[:1]])
    return torch.cat([x, copies + 0.02 * noise(3, 1)])


def test_copies_in_other_tones_are_found_and_nothing_else():
    assert [group.tolist() for group in near_duplicates.groups(with_copies(), 0.95)] == [[3, 12, 13], [0, 14]]


def test_groups_do_not_depend_on_the_blocks(monkeypatch):
    whole = near_duplicates.groups(with_copies(), 0.95)
    monkeypatch.setattr(near_duplicates, "CHUNK", 4)
    parts = near_duplicates.groups(with_copies(), 0.95)
    assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))


def test_a_lower_threshold_joins_groups():
    x = with_copies()
    members = [sum(map(len, near_duplicates.groups(x, threshold))) for threshold in (0.99999, 0.95, -1.1)]
    assert members == [0, 5, len(x)]
    assert len(near_duplicates.groups(x, -1.1)) == 1


def test_correlation_is_that_of_numpy():
    x = noise(5)
    assert torch.allclose(near_duplicates.correlations(x, x), torch.corrcoef(x.flatten(1)))


def test_the_nearest_of_a_copy_is_its_original():
    value, which = near_duplicates.nearest(0.3 * noise(12)[4:6] + 0.1, noise(12))
    assert which.tolist() == [4, 5]
    assert torch.allclose(value, torch.ones(2, dtype=value.dtype))


def test_samples_that_are_nearest_to_anything_alike_have_no_excess_and_copies_do():
    everything, found = torch.arange(1000), [torch.tensor([1, 2, 3]), torch.tensor([7, 8])]
    none = near_duplicates.excess(everything, everything, found, seed=0)
    assert none.low < none.value == 0 < none.high
    copies = near_duplicates.excess(torch.ones(50, dtype=torch.int64), everything, found, seed=0)
    assert copies.value == 1 - 0.005
    assert copies.low > 0.98
