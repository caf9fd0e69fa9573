import planted
import pytest
import torch

from lib.measures.memorization import nearest_neighbour_ratio
from lib.protocols import evidence, published_code


def test_every_image_of_a_batch_has_the_ratio_of_its_first():
    x, validation, samples = torch.rand(600, 3), torch.rand(20, 3), torch.rand(20, 3)
    ratio, replayed = (
        nearest_neighbour_ratio(x, validation, samples),
        published_code.first_row_ratio(x, validation, samples),
    )
    assert len(replayed) == 600
    torch.testing.assert_close(replayed[:256], ratio[0].expand(256))
    torch.testing.assert_close(replayed[512:], ratio[512].expand(88))


def test_a_copying_model_is_not_seen_by_the_first_row():
    """The score of every image is its ratio, and yet the number that was published says nothing."""
    ratio = torch.rand(5120)
    shared = ratio[::256].repeat_interleave(256)
    found = published_code.first_row_correlation(ratio, shared)
    assert found.distinct == 20
    assert abs(found.correlation) < 5 / 5120**0.5
    assert published_code.first_row_correlation(ratio, ratio).correlation == pytest.approx(1)


def test_one_ratio_for_all_has_no_correlation():
    found = published_code.first_row_correlation(torch.rand(9), torch.ones(9))
    assert found.distinct == 1
    assert found.correlation != found.correlation  # NaN


def test_high_is_a_number_of_nats():
    assert published_code.called_high(torch.tensor([0.9, 0.95, 0.96])).tolist() == [False, False, True]


def test_the_spread_is_of_the_models_with_the_image():
    log_p, held_out = planted.log_p(4, 3, 2000, gain=2.0, spread=1.5)
    log_p -= 1e3 * (torch.arange(3)[None, :, None] == held_out[:, None])  # the models without it are far off
    asked = evidence.Asked(log_p, torch.ones_like(log_p), held_out)
    judged = published_code.judge(asked, rng=torch.Generator().manual_seed(0))
    assert judged.spread.pow(2).mean() == pytest.approx(1.5**2, rel=0.05)
    assert judged.scores.score.mean() > 900
    again = published_code.judge(asked, rng=torch.Generator().manual_seed(0))
    assert torch.equal(judged.scores.null, again.scores.null)
