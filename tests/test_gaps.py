import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from zoos import affine_zoo

from lib.measures.intervals import mean_of_few, paired
from lib.protocols import gaps
from lib.protocols.gaps import Sides
from lib.protocols.zoo import Search


def log_normal(n, mean=0.0, seed=0):
    return (mean + torch.randn(n, generator=torch.Generator().manual_seed(seed))).exp()


def test_a_planted_gap_is_found_and_gaps_are_averaged_over_models():
    line = torch.linspace(1, 2, 31)
    easy = Sides(0.5 * line[torch.randperm(31)], line)
    equal = Sides(line[torch.randperm(31)], line)
    assert math.isclose(gaps.over_models([easy], 0).value, 0.5)
    assert math.isclose(gaps.over_models([easy, equal], 0).value, 0.25)


def test_a_gap_that_falls_is_positive_and_the_order_of_models_does_not_matter():
    held_out = torch.linspace(1, 2, 31)
    few = [Sides(0.2 * held_out, held_out), Sides(0.4 * held_out, held_out)]
    many = [Sides(0.9 * held_out, held_out), Sides(held_out, held_out)]
    assert math.isclose(gaps.fall(few, many, 0).value, 0.7 - 0.05)
    assert math.isclose(gaps.fall(few[::-1], many, 0).value, 0.65)
    with pytest.raises(ValueError, match="1 and 2"):
        gaps.fall(few[:1], many, 0)


def test_an_image_that_is_hard_under_all_models_keeps_the_interval_wide():
    """Two equal models say no more than one."""
    pair = Sides(log_normal(60, -0.5), log_normal(60, seed=1))
    one, two = gaps.over_models([pair], 0), gaps.over_models([pair, pair], 0)
    assert (two.low, two.high) == pytest.approx((one.low, one.high))


def test_models_that_differ_widen_the_interval_by_that_of_student():
    line = torch.linspace(1, 2, 31)
    models = [Sides(factor * line[torch.randperm(31)], line) for factor in (0.5, 0.6, 0.7)]
    images_alone = paired(gaps._mean_gap, *(side for sides in models for side in sides), seed=0)
    found, over = gaps.over_models(models, 0), mean_of_few(torch.tensor([0.5, 0.4, 0.3]))
    assert found.value == pytest.approx(0.4)
    assert found.high - 0.4 == pytest.approx(math.hypot(over.high - 0.4, images_alone.high - found.value))
    assert 0.4 - found.low == pytest.approx(math.hypot(over.high - 0.4, found.value - images_alone.low))
    fall = gaps.fall(models, [Sides(line, line)] * 3, 0)
    assert fall.value == pytest.approx(0.4)
    assert fall.high - fall.value > over.high - over.value


def test_the_interval_over_models_and_images_holds_the_gap_of_other_models():
    """Models whose gaps scatter by 0.05 about 0.3: the interval of three is wrong in no more than 5 % of the cases."""
    rng, wrong = torch.Generator().manual_seed(0), 0
    for seed in range(60):
        held_out, models = torch.randn(80, generator=rng).exp(), []
        for _ in range(3):
            factor = 0.7 + 0.05 * torch.randn((), generator=rng)
            models.append(Sides(factor * torch.randn(80, generator=rng).exp(), held_out))
        found = gaps.over_models(models, seed)
        wrong += not found.low <= 0.3 <= found.high
    assert wrong <= 3


def test_the_rule_is_signed():
    easy = Sides(log_normal(200, -1.0), log_normal(200, seed=1))
    assert gaps.compare(easy, 0).gap > 0.4
    assert gaps.compare(Sides(*easy[::-1]), 0).gap < -0.4


def test_medians_are_in_thousandths_and_ratios_are_paired():
    values = torch.linspace(1, 3, 41)
    assert math.isclose(gaps.median(values, 0).value, 2000)
    ratio = gaps.ratio_of_medians(0.3 * values, values, 0)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((0.3, 0.3, 0.3))


def test_a_linear_generator_is_beside_the_principal_components_of_what_it_was_trained_on():
    zoo, _ = affine_zoo()
    with ThreadPoolExecutor(1) as executor:
        held_out = gaps.by_model(zoo, Search(0, 100, 0.1), executor, most=1)["line"][0].held_out
    fit = zoo.fits["line"][0]
    x, images = (part.flatten(1) for part in (zoo.images.train[fit.index], zoo.held_out()))
    kept = torch.linalg.svd(x - x.mean(0)).Vh[:3]
    rest = (images - x.mean(0)) @ (torch.eye(16) - kept.T @ kept)
    wanted = held_out.quantile(0.5) / rest.square().mean(1).quantile(0.5)
    found = gaps.over_components(zoo, "line", [held_out])
    assert found.value == pytest.approx(float(wanted), rel=1e-3)
    other = replace(zoo, fits={"line": zoo.fits["line"][::-1]})  # trained on other images
    assert gaps.over_components(other, "line", [held_out]).value != pytest.approx(found.value, rel=1e-3)
    assert gaps.over_components(zoo, "line", [3 * held_out]).value == pytest.approx(3 * found.value)
    both = gaps.over_components(zoo, "line", [held_out, 3 * held_out])
    assert found.value < both.value < 3 * found.value
    assert both.high - both.low > found.high - found.low


def test_difficulty_is_the_residual_off_the_principal_components():
    reference = torch.zeros(50, 1, 2, 2)
    reference[:, 0, 0, 0], reference[:, 0, 0, 1] = torch.randn(50), 5 * torch.randn(50)
    hard = gaps.difficulty(reference, 2, seed=0)
    images = torch.zeros(2, 1, 2, 2)
    images[:, 0, 1, 1] = torch.tensor([0.2, 0.4])
    torch.testing.assert_close(hard(images), (images[:, 0, 1, 1] ** 2 / 4).log())


def test_planted_difficulty_is_regressed_out_and_a_planted_gap_stays():
    hard = Sides(torch.linspace(-2, 1, 40), torch.linspace(-1, 2, 40))
    same = Sides(*((3 * x - 1).exp() for x in hard))
    fair = gaps.regress_out(same, hard)
    torch.testing.assert_close(torch.cat(fair), torch.full((80,), math.exp(-1)))  # the mean difficulty is zero
    easier = Sides(0.5 * same.training, same.held_out)
    fair = gaps.regress_out(easier, hard)
    assert math.isclose(1 - fair.training.median() / fair.held_out.median(), 0.5)
    assert gaps.compare(same, 0).gap > 0.9


def test_an_image_without_an_error_takes_no_part_in_the_regression():
    hard = Sides(torch.linspace(-2, 1, 40), torch.linspace(-1, 2, 40))
    errors = Sides(*((3 * x).exp() for x in hard))
    errors.training[3] = torch.nan
    fair = gaps.regress_out(errors, hard)
    assert fair.training[3].isnan()
    known = torch.cat(fair)[~torch.cat(fair).isnan()]
    torch.testing.assert_close(known, known[:1].expand(79))


def test_false_alarms_of_exchangeable_errors_have_the_nominal_rate():
    rates = gaps.alarms(log_normal(600), 200, 0)
    assert list(rates) == [30, 60, 125, 200, 250]
    for _, p in rates.values():
        assert p.low <= 0.01 <= max(p.high, 0.01)
        assert p.value < 0.03
    chances = [gap.value for gap, _ in rates.values()]
    assert chances[0] > 0.3 > chances[-1]


def test_the_images_at_hand_are_limited_to_half_of_the_errors():
    assert list(gaps.alarms(log_normal(60), 200, 0)) == [30]


def test_a_linear_generator_has_its_least_squares_residual_on_both_sides():
    zoo, matrix = affine_zoo()
    with ThreadPoolExecutor(1) as executor:
        pairs = gaps.by_model(zoo, Search(0, 100, 0.1), executor)
    projector = torch.eye(16) - matrix @ torch.linalg.pinv(matrix)
    for sides, images in zip(pairs["line"][0], (zoo.trained_on("line"), zoo.held_out()), strict=True):
        residual = (images.flatten(1) - 0.5) @ projector
        torch.testing.assert_close(sides, residual.square().mean(1), atol=1e-8, rtol=1e-5)
    assert len(pairs["line"]) == 2


def test_strangers_that_no_generator_makes_change_the_gap_to_the_official_test_alone():
    zoo, _ = affine_zoo(strangers=0.9)
    how = Search(0, 100, 0.1)
    with ThreadPoolExecutor(1) as executor:
        sides = {row: models[0] for row, models in gaps.by_model(zoo, how, executor, most=1).items()}
        hard = gaps.difficulty(zoo.official.test, 2, 0)
        same = gaps.likeness(zoo, how, sides, hard, executor)["line"]
    assert same.held_out.gap == pytest.approx(gaps.compare(sides["line"], 0).gap)
    assert same.official.gap > 0.5 > abs(same.held_out.gap)
    assert same.sources.detected
    predicted = gaps.Sides(hard(zoo.trained_on("line")), hard(zoo.held_out()))
    assert same.adjusted.gap == pytest.approx(gaps.compare(gaps.regress_out(sides["line"], predicted), 0).gap)
    assert same.adjusted.gap != same.held_out.gap


def test_generated_images_have_no_error_and_distorted_ones_have_one():
    zoo, _ = affine_zoo()
    with ThreadPoolExecutor(1) as executor:
        made = gaps.controls(zoo, Search(0, 100, 0.1), 9, executor)["line"]
    assert made.generated.max() < 1e-8
    assert made.distorted.min() > 1e-5
    assert len(made.generated) == len(made.distorted) == 9


def test_the_mean_image_of_centred_noise_has_its_variance_as_error():
    zoo, _ = affine_zoo()
    sides = gaps.mean_image(zoo, "line")
    assert sides.held_out.mean().item() == pytest.approx(0.1**2 / 12, rel=0.1)
    x = zoo.trained_on("line") - zoo.images.train.mean(0)
    torch.testing.assert_close(sides.training, x.flatten(1).square().mean(1))


def test_unseen_images_are_searched_for_one_by_one():
    zoo, matrix = affine_zoo()
    with ThreadPoolExecutor(1) as executor:
        values = gaps.of_unseen(zoo, "line", Search(0, 100, 0.1), 7, executor)
    rest = (zoo.unseen("line", 7).flatten(1) - 0.5) @ (torch.eye(16) - matrix @ torch.linalg.pinv(matrix))
    torch.testing.assert_close(values, rest.square().mean(1), atol=1e-8, rtol=1e-5)


def test_a_row_has_its_mean_gap_and_the_rule_for_every_model():
    models = [Sides(log_normal(60, -shift, k), log_normal(60, seed=9)) for k, shift in enumerate((0.0, 2.0))]
    with ThreadPoolExecutor(2) as executor:
        row = gaps.rows({"both": models}, 0, executor)["both"]
    assert row.gap.value == pytest.approx(np.mean([model.gap for model in row.models]))
    assert row.models[1].detected
    assert row.models[1].gap > 0.7
